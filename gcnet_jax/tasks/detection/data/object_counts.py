"""How many objects there are, in all of each class and in each image, and whether one can learn."""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import rich.table
from jaxtyping import Int32
from rich.text import Text

from gcnet_jax.errors import InputError, printable
from gcnet_jax.tasks.detection.classes import ObjectClasses
from gcnet_jax.tasks.detection.data.annotations import (
    Annotations,
    masks_without_pixels,
    reasons_against,
    trainable,
)
from gcnet_jax.tasks.numbers_by_class import (
    check_all_there,
    quoted,
    table_of_classes,
    training_splits,
)

_OfImages = Int32[np.ndarray, "images 2"]


@dataclasses.dataclass(frozen=True, eq=False)
class ObjectCounts:
    """How many objects are in some images.

    Attributes:
        objects: by class index, how many are trained on; of classes that have some.
        crowds: how many annotations are crowds.
        left_out: by the first reason against it, how many are not trained on besides crowds.
        without_pixels: how many are trained on although their mask has no pixel.
        parts: of each image in order, how many annotations it has, and how many of them are trained
            on; in arrays of falling length, so that adding one image after the other is quick.
    """

    objects: Mapping[int, int]
    crowds: int = 0
    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)
    without_pixels: int = 0
    parts: tuple[_OfImages, ...] = ()

    @classmethod
    def of(cls, annotations: Annotations, size: tuple[int, int]) -> Self:
        """Counts what is annotated in one image of that height and width."""
        used = trainable(annotations, size)
        remaining = ~annotations.crowds
        left_out: dict[str, int] = {}
        for reason, against in reasons_against(annotations, size).items():
            if number := int(np.sum(against & remaining)):
                left_out[reason] = number
            remaining &= ~against
        return cls(
            dict(Counter(annotations.classes[used].tolist())),
            int(annotations.crowds.sum()),
            left_out,
            int(np.sum(used & masks_without_pixels(annotations, size))),
            (np.array([[len(used), used.sum()]], np.int32),),
        )

    @classmethod
    def from_plain(cls, plain: Any, num_classes: int) -> Self:
        """Returns the counts that `to_plain` has made JSON of.

        Raises:
            KeyError, TypeError, ValueError, AttributeError or OverflowError: if it is something
                else.
        """
        objects = {int(index): count for index, count in plain["objects"].items()}
        for index, count in objects.items():
            if not 0 <= index < num_classes or type(count) is not int or count < 1:
                raise ValueError(f"{count!r} objects of class {index}; of {num_classes} classes")
        left_out = {str(reason): int(count) for reason, count in plain["left_out"].items()}
        without_pixels = int(plain.get("without_pixels", 0))  # which earlier versions did not count
        columns = [plain["annotated"], plain["trainable"]]
        of_images = np.array(columns, np.int32).reshape(2, len(columns[0])).T
        if of_images.size and of_images.min() < 0:
            raise ValueError("negative numbers of objects")
        return cls(objects, int(plain["crowds"]), left_out, without_pixels, (of_images,))

    def __add__(self, other: Self) -> Self:
        return dataclasses.replace(
            self,
            objects=_sum(self.objects, other.objects),
            crowds=self.crowds + other.crowds,
            left_out=_sum(self.left_out, other.left_out),
            without_pixels=self.without_pixels + other.without_pixels,
            parts=_gathered([*self.parts, *other.parts]),
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectCounts) and self.to_plain() == other.to_plain()

    def to_plain(self) -> dict[str, Any]:
        """Returns JSON from which `from_plain` makes the same counts."""
        return {
            "objects": {str(index): self.objects[index] for index in sorted(self.objects)},
            "crowds": self.crowds,
            "left_out": {reason: self.left_out[reason] for reason in sorted(self.left_out)},
            "without_pixels": self.without_pixels,
            "annotated": self.annotated.tolist(),
            "trainable": self.trainable.tolist(),
        }

    @property
    def annotated(self) -> Int32[np.ndarray, " images"]:
        """How many annotations each image has, in order, whether trained on or not."""
        return self._of_images[:, 0]

    @property
    def trainable(self) -> Int32[np.ndarray, " images"]:
        """How many objects of each image are trained on, in order."""
        return self._of_images[:, 1]

    @property
    def most(self) -> int:
        """The largest number of objects of an image that are trained on."""
        return int(self.trainable.max(initial=0))

    @property
    def total(self) -> int:
        """Number of all objects that are trained on."""
        return sum(self.objects.values())

    @property
    def _of_images(self) -> _OfImages:
        return np.concatenate([np.empty((0, 2), np.int32), *self.parts])


def check_learnable(
    counts: Mapping[str, ObjectCounts], classes: ObjectClasses, *, absent: str | None
) -> None:
    """Refuses objects from which training would learn nothing, or not all classes.

    Training splits are those whose names begin with "train"; without one, all splits together. The
    others are compared with: they need an object each.

    Args:
        counts: of each split.
        classes: the data set's.
        absent: what to do about a class without an object; None where that is allowed.

    Raises:
        InputError: no object can be trained on or compared with, or a class has none.
    """
    training = training_splits(counts)
    total = sum((counts[split] for split in training), ObjectCounts({}))
    _check_objects(total, quoted(training), "trained on")
    for split in (split for split in counts if split not in training):
        _check_objects(counts[split], quoted([split]), "compared with")
    if absent is not None:
        check_all_there(total.objects, classes.names, what="object", splits=training, advice=absent)


def _check_objects(counts: ObjectCounts, where: str, how: str) -> None:
    if not counts.objects:
        raise InputError(
            f"none of the {int(counts.annotated.sum())} annotations of split {where} can be {how}; "
            "expected objects that are no crowds, have an area and lie in their image"
        )


def counts_table(counts: Mapping[str, ObjectCounts], classes: ObjectClasses) -> rich.table.Table:
    """Returns a row a class with its number of objects in each split, and what is left out."""
    objects = {split: of_split.objects for split, of_split in counts.items()}
    table = table_of_classes("number of objects", classes.names, objects)
    table.add_section()
    table.add_row("all", *(str(of_split.total) for of_split in counts.values()))
    table.add_row("most in an image", *(str(of_split.most) for of_split in counts.values()))
    table.add_section()
    table.add_row("crowds", *(str(of_split.crowds) for of_split in counts.values()))
    for reason in sorted({reason for of_split in counts.values() for reason in of_split.left_out}):
        numbers = (str(of_split.left_out.get(reason, 0)) for of_split in counts.values())
        table.add_row(Text(printable(f"left out: {reason}")), *numbers)
    if any(of_split.without_pixels for of_split in counts.values()):
        numbers = (str(of_split.without_pixels) for of_split in counts.values())
        table.add_row("masks without a pixel", *numbers)
    images = (str(int((of_split.annotated == 0).sum())) for of_split in counts.values())
    table.add_row("images without annotation", *images)
    return table


def _sum(one: Mapping[Any, int], other: Mapping[Any, int]) -> dict[Any, int]:
    return dict(Counter(one) + Counter(other))


def _gathered(parts: list[_OfImages]) -> tuple[_OfImages, ...]:
    """Joins neighbours until each is longer than what comes behind it."""
    gathered: list[_OfImages] = []
    for part in parts:
        while gathered and len(gathered[-1]) <= len(part):
            part = np.concatenate([gathered.pop(), part])
        gathered.append(part)
    return tuple(gathered)
