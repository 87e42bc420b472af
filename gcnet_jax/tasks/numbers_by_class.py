"""How many of something each class has in the splits of a data set, in words that tasks share."""

from collections.abc import Collection, Iterable, Mapping, Sequence

import rich.table
from rich.text import Text

from gcnet_jax.errors import InputError, printable

_MOST_NAMED = 8  # classes in a message
_MOST_SHOWN = 100  # classes in a table


def training_splits(splits: Iterable[str]) -> list[str]:
    """Splits whose names begin with "train"; where there is none, all of them."""
    there = list(splits)
    return [split for split in there if split.startswith("train")] or there


def quoted(splits: Iterable[str]) -> str:
    """Names of splits for a message."""
    return " and ".join(f"'{split}'" for split in splits)


def check_all_there(
    there: Collection[int], names: Sequence[str], *, what: str, splits: Iterable[str], advice: str
) -> None:
    """Refuses a data set in which a class has nothing that is trained on.

    Args:
        there: the indices of classes that have something.
        names: of all classes, by index.
        what: they have, such as "image".
        splits: that are trained on.
        advice: what to do about a class that has nothing.

    Raises:
        InputError: there is such a class.
    """
    missing = [f"'{name}'" for index, name in enumerate(names) if index not in there]
    if not missing:
        return
    named = ", ".join(missing[:_MOST_NAMED])
    named += f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
    kind = "class" if len(missing) == 1 else "classes"
    raise InputError(f"split {quoted(splits)} has no {what} of {kind} {named}; {advice}")


def table_of_classes(
    title: str, names: Sequence[str], numbers: Mapping[str, Mapping[int, int]]
) -> rich.table.Table:
    """A table with a row a class and its number in each split; many classes are in one row.

    Args:
        title: of the table.
        names: of the classes, by index.
        numbers: by split, of the classes that have some, by index.
    """
    table = rich.table.Table(title=title)
    table.add_column("class")
    for split in numbers:
        table.add_column(split, justify="right")
    if len(names) <= _MOST_SHOWN:
        for index, name in enumerate(names):
            row = (str(of_split.get(index, 0)) for of_split in numbers.values())
            table.add_row(Text(printable(f"{index} {name}")), *row)
    else:
        ranges = []
        for of_split in numbers.values():
            each = [of_split.get(index, 0) for index in range(len(names))]
            ranges.append(f"{min(each)} to {max(each)}")
        table.add_row(f"each of {len(names)}", *ranges)
    return table
