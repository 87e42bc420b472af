"""Class names and colours of every data set, readable without opening any data."""

import csv
import dataclasses
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import Any

from gcnet_jax.errors import InputError

IGNORE_LABEL = 255
"""Label of pixels that belong to no class: left out of the loss's sum and of every metric."""


@dataclasses.dataclass(frozen=True)
class DatasetClasses:
    """Names and display colours of a data set's classes, in the order of their indices.

    Attributes:
        names: one name a class; the position is the class index stored in label images.
        palette: one (red, green, blue) colour in 0..255 a class.

    Raises:
        ValueError: if there are not as many colours as names.
    """

    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]

    def __post_init__(self) -> None:
        if len(self.names) != len(self.palette):
            raise ValueError(
                f"{len(self.names)} class names but {len(self.palette)} colours; "
                "every class has exactly one colour"
            )

    @property
    def num_classes(self) -> int:
        """Number of classes, the ignored label not counted."""
        return len(self.names)

    def to_plain(self) -> dict[str, Any]:
        """What a checkpoint's metadata holds."""
        return {"names": list(self.names), "palette": [list(color) for color in self.palette]}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "DatasetClasses":
        """The other way round; a KeyError, TypeError or ValueError if it is something else."""
        palette = tuple((int(r), int(g), int(b)) for r, g, b in plain["palette"])
        return cls(tuple(plain["names"]), palette)


def _read(table: Traversable) -> DatasetClasses:
    rows = list(csv.DictReader(table.read_text().splitlines()))
    return DatasetClasses(
        names=tuple(row["name"] for row in rows),
        palette=tuple((int(row["red"]), int(row["green"]), int(row["blue"])) for row in rows),
    )


CATALOG: Mapping[str, DatasetClasses] = MappingProxyType(
    {
        table.name.removesuffix(".csv"): _read(table)
        for table in sorted(
            resources.files("gcnet_jax.data").joinpath("classes").iterdir(),
            key=lambda table: table.name,
        )
    }
)
"""Every data set's classes by its name: the tables in `classes/`, one row a class."""


def dataset_classes(name: str) -> DatasetClasses:
    """Returns the classes of the data set called ``name``.

    Raises:
        InputError: if no data set has that name; the message lists those that exist.
    """
    if name not in CATALOG:
        raise InputError(f"unknown data set '{name}'; known data sets: {', '.join(CATALOG)}")
    return CATALOG[name]


def generic_palette(num_classes: int) -> tuple[tuple[int, int, int], ...]:
    """Colours for classes without any: those of PASCAL VOC, continued.

    The bits of an index, lowest first, go in turn to red, green and blue, from the highest bit of
    each downwards; neighbours come out far apart.
    """

    def channel(index: int, first_bit: int) -> int:
        return sum((index >> (first_bit + 3 * i) & 1) << (7 - i) for i in range(8))

    return tuple(
        (channel(index, 0), channel(index, 1), channel(index, 2)) for index in range(num_classes)
    )
