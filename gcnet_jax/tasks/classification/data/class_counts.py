"""How many images each class has, and whether training can learn the classes."""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import Any, Self

import rich.table
from rich.text import Text

from gcnet_jax.errors import InputError, printable
from gcnet_jax.tasks.classification.data.classes import ImageClasses

_MOST_NAMED = 8  # classes in a message
_MOST_SHOWN = 40  # classes in a table


@dataclasses.dataclass(frozen=True)
class ClassCounts:
    """How many images of each class there are.

    Attributes:
        images: by class index, the number of images; of classes that have some.
    """

    images: Mapping[int, int]

    @classmethod
    def from_plain(cls, plain: Any, num_classes: int) -> Self:
        """Returns the counts that `to_plain` has made JSON of.

        Raises:
            TypeError, ValueError or AttributeError: if it is something else.
        """
        images = {int(index): count for index, count in plain.items()}
        for index, count in images.items():
            if not 0 <= index < num_classes or type(count) is not int or count < 1:
                raise ValueError(f"{count!r} images of class {index}; of {num_classes} classes")
        return cls(images)

    def __add__(self, other: Self) -> Self:
        return dataclasses.replace(self, images=dict(Counter(self.images) + Counter(other.images)))

    def to_plain(self) -> dict[str, int]:
        """Returns JSON from which `from_plain` makes the same counts."""
        return {str(index): self.images[index] for index in sorted(self.images)}

    @property
    def total(self) -> int:
        """Number of all images."""
        return sum(self.images.values())


def check_learnable(
    counts: Mapping[str, ClassCounts], classes: ImageClasses, *, absent: str | None
) -> None:
    """Refuses images from which training would learn nothing, or not all classes.

    Training splits are those whose names begin with "train"; without one, all splits together.

    Args:
        counts: of each split.
        classes: the data set's.
        absent: what to do about a class without a training image; None where that is allowed.

    Raises:
        InputError: all training images are of one class, or a class has none.
    """
    training = [split for split in counts if split.startswith("train")] or list(counts)
    total = sum((counts[split] for split in training), ClassCounts({}))
    where = " and ".join(f"'{split}'" for split in training)
    if len(total.images) < 2:
        only = ", ".join(repr(classes.names[index]) for index in total.images) or "no class"
        raise InputError(
            f"all {total.total} images of split {where} are of {only}, and what is the same "
            "everywhere cannot be learnt; expected images of two classes at least"
        )
    missing = [i for i in range(classes.num_classes) if i not in total.images]
    if missing and absent is not None:
        named = ", ".join(f"'{classes.names[i]}'" for i in missing[:_MOST_NAMED])
        named += f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
        kind = "class" if len(missing) == 1 else "classes"
        raise InputError(f"split {where} has no image of {kind} {named}; {absent}")


def counts_table(counts: Mapping[str, ClassCounts], classes: ImageClasses) -> rich.table.Table:
    """Returns a row a class with its number of images in each split; many classes in one row."""
    table = rich.table.Table(title="number of images with the class")
    table.add_column("class")
    for split in counts:
        table.add_column(split, justify="right")
    if classes.num_classes <= _MOST_SHOWN:
        for index, name in enumerate(classes.names):
            images = (str(of_split.images.get(index, 0)) for of_split in counts.values())
            table.add_row(Text(printable(f"{index} {name}")), *images)
    else:
        ranges = []
        for of_split in counts.values():
            each = [of_split.images.get(index, 0) for index in range(classes.num_classes)]
            ranges.append(f"{min(each)} to {max(each)}")
        table.add_row(f"each of {classes.num_classes}", *ranges)
    table.add_section()
    table.add_row("all", *(str(of_split.total) for of_split in counts.values()))
    return table
