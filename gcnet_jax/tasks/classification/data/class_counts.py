"""How many images each class has, and whether training can learn the classes."""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import Any, Self

import rich.table

from gcnet_jax.errors import InputError
from gcnet_jax.tasks.classification.data.classes import ImageClasses
from gcnet_jax.tasks.numbers_by_class import (
    check_all_there,
    quoted,
    table_of_classes,
    training_splits,
)


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
    training = training_splits(counts)
    total = sum((counts[split] for split in training), ClassCounts({}))
    if len(total.images) < 2:
        only = ", ".join(repr(classes.names[index]) for index in total.images) or "no class"
        raise InputError(
            f"all {total.total} images of split {quoted(training)} are of {only}, and what is the "
            "same everywhere cannot be learnt; expected images of two classes at least"
        )
    if absent is not None:
        check_all_there(total.images, classes.names, what="image", splits=training, advice=absent)


def counts_table(counts: Mapping[str, ClassCounts], classes: ImageClasses) -> rich.table.Table:
    """Returns a row a class with its number of images in each split; many classes in one row."""
    images = {split: of_split.images for split, of_split in counts.items()}
    table = table_of_classes("number of images with the class", classes.names, images)
    table.add_section()
    table.add_row("all", *(str(of_split.total) for of_split in counts.values()))
    return table
