"""What every data set is before it is prepared: examples that can be loaded, in order, by split."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from etils import epath
from jaxtyping import UInt8


class LoadedExample(NamedTuple):
    """One example in memory.

    Attributes:
        encoded: the bytes of the image file.
        image: its pixels, RGB.
        label: the class index of each pixel, 255 where ignored.
    """

    encoded: bytes
    image: UInt8[np.ndarray, "h w 3"]
    label: UInt8[np.ndarray, "h w"]


class Example(Protocol):
    """One image with its label, not yet read."""

    @property
    def name(self) -> str:
        """The name of the example, unique within its split."""
        ...

    def fingerprint(self) -> str:
        """What is another text when the example has changed, as far as can be told quickly."""
        ...

    def load(self) -> LoadedExample:
        """Reads the example whole; an InputError names the file that is not as expected."""
        ...


Examples = Mapping[str, Sequence[Example]]
"""The examples of each split, in the order in which they are stored."""


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of an official release.

    Attributes:
        folders: folders that the part consists of, relative to the place where it is unpacked.
        archive: name of the file in which it is distributed, if it is one.
    """

    folders: tuple[str, ...]
    archive: str | None = None

    def __str__(self) -> str:
        folders = " ".join(f"{folder}/" for folder in self.folders)
        return f"{folders} or {self.archive}" if self.archive else folders


@dataclasses.dataclass(frozen=True)
class OfficialSet:
    """A data set that this library knows.

    Attributes:
        name: what it is called, here and in the catalog of classes.
        description: one sentence.
        find_examples: finds the examples, given the folder in which each part lies.
        parts: what a source must hold; none for data sets that are generated.
        counts: number of images in each split of the whole release.
    """

    name: str
    description: str
    find_examples: Callable[[Sequence[epath.Path]], Examples]
    parts: tuple[Part, ...] = ()
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def expected_source(self) -> str:
        """What ``--source`` must hold, in words."""
        return f"a folder with {', and '.join(map(str, self.parts))}"
