"""Class names and colours of the data sets known by name, readable without any data."""

import csv
import dataclasses
import io
import itertools
import re
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import Any

from gcnet_jax.errors import InputError, printable
from gcnet_jax.tasks.named_classes import NamedClasses

IGNORE_LABEL = 255
"""Label of pixels that belong to no class: left out of the loss's sum and of every metric."""

_CHANNELS = ("red", "green", "blue")


@dataclasses.dataclass(frozen=True)
class DatasetClasses(NamedClasses):
    """Names and display colours of a data set's classes, in the order of their indices.

    Attributes:
        names: one name a class; the position is the class index stored in label images.
        palette: one (red, green, blue) colour in 0..255 a class.

    Raises:
        InputError: if there are not as many colours as names, or a name holds control characters.
    """

    palette: tuple[tuple[int, int, int], ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.names) != len(self.palette):
            raise InputError(
                f"{len(self.names)} class names but {len(self.palette)} colours; "
                "every class has exactly one colour"
            )

    @classmethod
    def numbered(cls, count: int) -> "DatasetClasses":
        """Classes that have nothing but numbers, for what needs no names of a data set."""
        return cls(tuple(map(str, range(count))), generic_palette(count))

    @property
    def legend(self) -> tuple[tuple[str, tuple[int, int, int]], ...]:
        """Each name with its colour."""
        return tuple(zip(self.names, self.palette, strict=True))

    def to_plain(self) -> dict[str, Any]:
        """Returns JSON, as in tables of contents."""
        return {**super().to_plain(), "palette": [list(color) for color in self.palette]}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "DatasetClasses":
        """Returns the classes of such JSON.

        Raises:
            KeyError, TypeError, ValueError or InputError: if it is something else.
        """
        palette = tuple((r, g, b) for r, g, b in plain["palette"])
        for value in itertools.chain.from_iterable(palette):
            if type(value) is not int or not 0 <= value <= 255:
                raise ValueError(f"{value!r} is no part of a colour")
        return cls(tuple(plain["names"]), palette)


def read_class_table(table: Traversable) -> DatasetClasses:
    """Reads a CSV table with one class a row: its name and, for all classes or none, its colour.

    The header names the columns: `name`, and `red`, `green` and `blue` or `r`, `g` and
    `b`, in any order and case. The index of a class is the position of its row. Without colours
    the classes get those of `generic_palette`.

    Args:
        table: the file.

    Raises:
        InputError: if the table is something else, down to a column that is not known; the message
            names the file and the row.
    """
    header, rows = _cells(table)
    columns = _columns(table, header)
    for number, row in enumerate(rows):
        if len(row) > len(header):
            raise InputError(
                f"{table}: class {number} has {len(row)} cells ({', '.join(map(repr, row))}); "
                f"expected {len(header)}, as the header has"
            )
        row += [""] * (len(header) - len(row))
    names = tuple(row[columns["name"]] for row in rows)
    _check_names(table, names)
    if len(columns) == 1:
        return DatasetClasses(names, generic_palette(len(names)))
    palette: list[tuple[int, int, int]] = []
    for name, row in zip(names, rows, strict=True):
        cells = [row[columns[channel]] for channel in _CHANNELS]
        if not all(re.fullmatch(r"[0-9]{1,3}", cell) and int(cell) <= 255 for cell in cells):
            raise InputError(
                f"{table}: class {name!r} has no colour, but {', '.join(map(repr, cells))}; "
                "expected whole numbers in 0..255 for red, green and blue, or none of these columns"
            )
        red, green, blue = map(int, cells)
        palette.append((red, green, blue))
    return DatasetClasses(names, tuple(palette))


def _cells(table: Traversable) -> tuple[list[str], list[list[str]]]:
    """The header and the other rows, without spaces around cells and what is empty at the end."""
    try:
        text = table.read_bytes().decode("utf-8-sig")  # spreadsheets write the mark before it
    except UnicodeDecodeError as error:
        raise InputError(f"{table} is no text in UTF-8; expected a CSV table") from error
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text, newline=""))]
    except csv.Error as error:
        raise InputError(f"{table} is no CSV table ({error})") from error
    for row in rows:
        while row and not row[-1]:  # spreadsheets export columns and rows that were used once
            row.pop()
    rows = [row for row in rows if row]
    if not rows:
        raise InputError(f"{table} is empty; expected a CSV table with a column 'name'")
    return rows[0], rows[1:]


def _columns(table: Traversable, header: list[str]) -> dict[str, int]:
    """Where the columns are, by the names that this library calls them."""
    known = {"name": "name"} | {text: c for c in _CHANNELS for text in (c, c[0])}
    found = ", ".join(map(repr, header))
    columns: dict[str, int] = {}
    for position, text in enumerate(header):
        column = known.get(text.casefold())
        if column is None:
            raise InputError(
                f"{table}: column {text!r} is not known; expected 'name' and, if need be, 'red', "
                f"'green' and 'blue', separated by commas; found {found}"
            )
        if column in columns:
            raise InputError(f"{table}: there are two columns '{column}'; found {found}")
        columns[column] = position
    if "name" not in columns:
        raise InputError(f"{table}: expected a column 'name', separated by commas; found {found}")
    missing = [channel for channel in _CHANNELS if channel not in columns]
    if 0 < len(missing) < len(_CHANNELS):
        raise InputError(
            f"{table}: the column '{missing[0]}' is missing; expected red, green and blue, or none "
            f"of them; found {found}"
        )
    return columns


def _check_names(table: Traversable, names: tuple[str, ...]) -> None:
    if not all(names) or len(set(names)) < len(names) or not 0 < len(names) <= IGNORE_LABEL:
        raise InputError(
            f"{table}: expected 2 to {IGNORE_LABEL} classes, a different name in each row; found "
            f"{', '.join(map(repr, names)) or 'no rows'}"
        )
    if len(names) == 1:
        raise InputError(
            f"{table}: {names[0]!r} is the only class, and what is the same everywhere cannot be "
            "learnt; give the rest a class too, such as 'background', in a row of its own"
        )
    for name in names:
        if printable(name) != name:
            raise InputError(f"{table}: class name '{name}' holds characters that cannot be shown")


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
            resources.files("gcnet_jax.tasks.segmentation.data").joinpath("classes").iterdir(),
            key=lambda table: table.name,
        )
    }
)
"""The classes of the data sets known by name: the tables in `classes/`, one row a class."""
