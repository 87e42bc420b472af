"""Class names and colours of the data sets known by name, readable without any data."""

import csv
import dataclasses
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import Any

from gcnet_jax.errors import InputError, printable

IGNORE_LABEL = 255
"""Label of pixels that belong to no class: left out of the loss's sum and of every metric."""


@dataclasses.dataclass(frozen=True)
class DatasetClasses:
    """Names and display colours of a data set's classes, in the order of their indices.

    Attributes:
        names: one name a class; the position is the class index stored in label images.
        palette: one (red, green, blue) colour in 0..255 a class.

    Raises:
        InputError: if there are not as many colours as names, or a name holds control characters:
          names come from files, and are shown in terminals, tables and pictures.
    """

    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]

    def __post_init__(self) -> None:
        if len(self.names) != len(self.palette):
            raise InputError(
                f"{len(self.names)} class names but {len(self.palette)} colours; "
                "every class has exactly one colour"
            )
        for name in self.names:
            if printable(name) != name:
                raise InputError(f"class name '{name}' holds characters that cannot be shown")

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


def read_class_table(table: Traversable) -> DatasetClasses:
    """Reads a CSV table with one class a row: its name and, for all classes or none, its colour.

    The columns are ``name``, ``red``, ``green`` and ``blue``. Without colours the classes get
    those of :func:`generic_palette`.

    Args:
        table: the file.

    Raises:
        InputError: if the table is something else; the message names the file and the row.
    """
    try:
        text = table.read_bytes().decode("utf-8-sig")  # spreadsheets write the mark before it
    except UnicodeDecodeError as error:
        raise InputError(f"{table} is no text in UTF-8; expected a CSV table") from error
    rows = list(csv.DictReader(text.splitlines()))
    if rows and "name" not in rows[0]:
        columns = ", ".join(map(repr, rows[0]))
        raise InputError(f"{table}: expected a column 'name', separated by commas; found {columns}")
    names = tuple((row.get("name") or "").strip() for row in rows)
    if not all(names) or not 0 < len(names) <= IGNORE_LABEL or len(set(names)) < len(names):
        raise InputError(
            f"{table}: expected a column 'name' with 1 to {IGNORE_LABEL} classes, a different name "
            f"in each row; found {', '.join(map(repr, names)) or 'no rows'}"
        )
    for name in names:
        if printable(name) != name:
            raise InputError(f"{table}: class name '{name}' holds characters that cannot be shown")
    channels = ("red", "green", "blue")
    if not set(channels) & rows[0].keys():
        return DatasetClasses(names, generic_palette(len(names)))
    palette: list[tuple[int, int, int]] = []
    for row in rows:
        try:
            red, green, blue = (int(row[channel]) for channel in channels)
        except (KeyError, TypeError, ValueError):
            red = green = blue = -1
        if not all(0 <= value <= 255 for value in (red, green, blue)):
            raise InputError(
                f"{table}: class '{row['name']}' has no colour; expected columns red, green, blue "
                "with whole numbers in 0..255, or none of these columns"
            )
        palette.append((red, green, blue))
    return DatasetClasses(names, tuple(palette))


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


CATALOG: Mapping[str, DatasetClasses] = MappingProxyType(
    {
        table.name.removesuffix(".csv"): read_class_table(table)
        for table in sorted(
            resources.files("gcnet_jax.data").joinpath("classes").iterdir(),
            key=lambda table: table.name,
        )
    }
)
"""The classes of the data sets known by name: the tables in `classes/`, one row a class."""
