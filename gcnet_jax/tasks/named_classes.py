"""Classes that networks tell apart, as all tasks name them."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

from gcnet_jax.errors import InputError, printable

_MOST_NAMED = 20  # classes in a line
_LONGEST_NAMES = 1_000_000  # of a foreign file, all together


@dataclasses.dataclass(frozen=True)
class NamedClasses:
    """Names of classes, in the order of their indices: a `gcnet_jax.task.Meaning`.

    Attributes:
        names: one name a class; the position is the class index.

    Raises:
        InputError: a name holds control characters: names come from files, and are shown in
            terminals, tables and pictures.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in self.names:
            if printable(name) != name:
                raise InputError(f"class name '{name}' holds characters that cannot be shown")

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.names)

    @classmethod
    def numbered(cls, count: int) -> Self:
        """Classes that have nothing but numbers, for what needs no names of a data set."""
        return cls(tuple(map(str, range(count))))

    def to_plain(self) -> dict[str, Any]:
        """Returns JSON, as in tables of contents."""
        return {"names": list(self.names)}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
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

    def to_metadata(self) -> dict[str, Any]:
        """What a checkpoint's metadata says of the classes."""
        return {"classes": self.to_plain()}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> Self:
        """The classes that a checkpoint's metadata names."""
        return cls.from_plain(metadata["classes"])

    def in_words(self) -> str:
        """How many classes there are, and which, as far as they fit a line."""
        more = ", ..." if self.num_classes > _MOST_NAMED else ""
        return f"{self.num_classes} classes: {', '.join(self.names[:_MOST_NAMED])}{more}"

    def means_same(self, other: "NamedClasses") -> bool:
        """Whether two networks tell the same classes apart."""
        return self.names == other.names


def names_to_meta(names: tuple[str, ...]) -> dict[str, Any]:
    """What a `.pth` file says to OpenMMLab's libraries, older and newer, of the classes."""
    return {"dataset_meta": {"classes": list(names)}, "CLASSES": list(names)}


def names_from_meta(meta: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The names of classes in the `meta` of a `.pth` file, if any."""
    names = said_in_meta(meta, "classes", "CLASSES")
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        return None
    if not names or sum(map(len, names)) > _LONGEST_NAMES:
        return None
    return tuple(name.strip() for name in names)


def said_in_meta(meta: Mapping[str, Any], *keys: str) -> Any | None:
    """An entry of the `meta` of a `.pth` file, as OpenMMLab 1.x has it, else as 0.x."""
    described = meta.get("dataset_meta")
    places = [described, meta] if isinstance(described, dict) else [meta]
    return next((d[key] for d in places for key in keys if d.get(key) is not None), None)
