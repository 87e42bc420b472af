"""What every data set is before it is prepared: examples that can be loaded, in order, by split."""

import dataclasses
import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

from etils import epath


class Example(Protocol):
    """An image with what a task learns from it, not yet read."""

    @property
    def name(self) -> str:
        """The name of the example, unique within its split."""
        ...

    def fingerprint(self) -> str:
        """Returns what is another text when the example has changed, as far as is quickly seen."""
        ...

    def load(self) -> Any:
        """Reads the example whole, for `RecordFormat.store` of the same task.

        Raises:
            InputError: if a file of it is not as expected; the message names the file.
        """
        ...


Examples = Mapping[str, Sequence[Example]]
"""The examples of each split, in the order in which they are stored."""


def fingerprint(texts: Iterable[str]) -> str:
    """Returns one fingerprint for those of several examples, in order."""
    digest = hashlib.sha256()
    for number, text in enumerate(texts):
        # Names need not be UTF-8.
        digest.update(os.fsencode(f"\n{text}" if number else text))
    return digest.hexdigest()


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of an official release.

    Attributes:
        folders: folders that the part consists of, relative to the place where it is unpacked.
        archive: name of the file in which it is distributed, if it is one.
        splits: those that need this part; none named: all of them.
        in_place: whether the archive is read where it lies, and never unpacked.
        optional: whether a source may lack it, because only some of its layouts need it.
    """

    folders: tuple[str, ...]
    archive: str | None = None
    splits: tuple[str, ...] = ()
    in_place: bool = False
    optional: bool = False

    def __str__(self) -> str:
        folders = " ".join(f"{folder}/" for folder in self.folders)
        return f"{folders} or {self.archive}" if self.archive else folders


@dataclasses.dataclass(frozen=True)
class OfficialSet:
    """A data set that a task knows by name.

    Attributes:
        name: what it is called.
        description: one sentence.
        find_examples: finds the examples of some splits, given those and the folder in which each
            part lies that they need, in the order of the parts.
        splits: all of them.
        parts: what a source must hold; none for data sets that are generated.
        counts: number of images in each split of the whole release.
    """

    name: str
    description: str
    find_examples: Callable[[Sequence[epath.Path], Collection[str]], Examples]
    splits: tuple[str, ...]
    parts: tuple[Part, ...] = ()
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def parts_for(self, splits: Collection[str]) -> list[Part]:
        """Returns the parts that some splits need."""
        return [part for part in self.parts if not part.splits or set(part.splits) & set(splits)]

    def expected_source(self, splits: Collection[str]) -> str:
        """Returns what `--source` must hold for some splits, in words."""
        return f"a folder with {', and '.join(map(str, self.parts_for(splits)))}"
