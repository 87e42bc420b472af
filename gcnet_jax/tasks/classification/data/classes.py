"""Names of the classes of whole images, and those of the data sets known by name."""

import csv
import dataclasses
from collections import Counter
from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType
from typing import Any

from gcnet_jax.errors import InputError, printable


@dataclasses.dataclass(frozen=True)
class ImageClasses:
    """Names of a data set's classes, in the order of their indices.

    Attributes:
        names: one name a class; the position is the class index that records hold.

    Raises:
        InputError: there is no class, a name is empty or there twice, or holds control characters:
          names come from files, and are shown in terminals, tables and pictures.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.names:
            raise InputError("there are no classes; expected a name for each")
        name, times = Counter(self.names).most_common(1)[0]
        if times > 1:
            raise InputError(f"{times} classes are called '{name}'; expected a name for each")
        for name in self.names:
            if not name or printable(name) != name:
                raise InputError(f"class name '{name}' holds characters that cannot be shown")

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.names)

    @classmethod
    def numbered(cls, count: int) -> "ImageClasses":
        """Classes that have nothing but numbers, for what needs no names of a data set."""
        return cls(tuple(map(str, range(count))))

    def to_plain(self) -> dict[str, Any]:
        """Returns JSON, as in the metadata of checkpoints."""
        return {"names": list(self.names)}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "ImageClasses":
        """Returns the classes of such JSON.

        Raises:
            KeyError, TypeError, ValueError or InputError: if it is something else.
        """
        names = plain["names"]
        if set(plain) != {"names"} or not isinstance(names, list):
            raise ValueError("expected the names of the classes, and nothing else")
        for name in names:
            if not isinstance(name, str):
                raise TypeError(f"{name!r} is no name of a class")
        return cls(tuple(names))


def _imagenet_table() -> list[tuple[str, str]]:
    """The WordNet id of each class of ImageNet, and the first word of its synset."""
    table = resources.files("gcnet_jax.tasks.classification.data").joinpath("classes/imagenet.csv")
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    return [(row["wordnet_id"], row["word"]) for row in rows]


WORDNET_IDS: tuple[str, ...] = tuple(wordnet_id for wordnet_id, _ in _imagenet_table())
"""The classes of ILSVRC2012 in the order of their indices, which is that of these ids."""

CATALOG: Mapping[str, ImageClasses] = MappingProxyType(
    {
        "context_scenes": ImageClasses(("red", "yellow", "green", "violet")),
        # Words alone are not unique: there are two cranes and two maillots.
        "imagenet": ImageClasses(tuple(f"{word} ({id})" for id, word in _imagenet_table())),
    }
)
"""The classes of the data sets known by name."""
