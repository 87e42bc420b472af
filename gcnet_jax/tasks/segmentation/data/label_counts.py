"""How often each class occurs in the masks of a data set, and whether training can learn them."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
import rich.table
from jaxtyping import UInt8
from rich.text import Text

from gcnet_jax.errors import InputError, printable
from gcnet_jax.tasks.numbers_by_class import quoted, training_splits
from gcnet_jax.tasks.segmentation.data.catalog import IGNORE_LABEL, DatasetClasses

_PIXELS_AT_ONCE = 1 << 20
_MOST_NAMED = 8  # classes in a message


@dataclasses.dataclass(frozen=True)
class LabelCounts:
    """What the labels of some images hold.

    Attributes:
        images: number of images.
        pixels: by class, the number of its pixels.
        images_with: by class, the number of images in which it occurs.
        ignored: number of pixels that belong to no class.
    """

    images: int
    pixels: tuple[int, ...]
    images_with: tuple[int, ...]
    ignored: int

    @classmethod
    def nothing(cls, num_classes: int) -> Self:
        """Returns the counts of no image."""
        return cls(0, (0,) * num_classes, (0,) * num_classes, 0)

    @classmethod
    def of_label(cls, label: UInt8[np.ndarray, "h w"], num_classes: int) -> Self:
        """Counts one label.

        Raises:
            ValueError: a pixel is neither a class index nor 255.
        """
        flat = label.reshape(-1)
        counts = np.zeros(IGNORE_LABEL + 1, np.int64)
        for start in range(0, flat.size, _PIXELS_AT_ONCE):  # NumPy makes eight bytes of each
            part = flat[start : start + _PIXELS_AT_ONCE]
            counts += np.bincount(part, minlength=IGNORE_LABEL + 1)
        if counts[num_classes:IGNORE_LABEL].any():
            value = num_classes + int(np.flatnonzero(counts[num_classes:])[0])
            raise ValueError(f"label value {value}; expected 0 to {num_classes - 1}, or 255")
        pixels = tuple(counts[:num_classes].tolist())
        return cls(1, pixels, tuple(int(n > 0) for n in pixels), int(counts[IGNORE_LABEL]))

    @classmethod
    def from_plain(cls, plain: dict[str, Any], num_classes: int) -> Self:
        """Returns the counts that `to_plain` has made JSON of.

        Raises:
            KeyError, TypeError or ValueError: if it is something else.
        """
        pixels, images_with = (tuple(map(int, plain[key])) for key in ("pixels", "images_with"))
        if not len(pixels) == len(images_with) == num_classes:
            raise ValueError(f"counts of {len(pixels)} classes; expected {num_classes}")
        return cls(int(plain["images"]), pixels, images_with, int(plain["ignored"]))

    def __add__(self, other: Self) -> Self:
        return dataclasses.replace(
            self,
            images=self.images + other.images,
            pixels=tuple(a + b for a, b in zip(self.pixels, other.pixels, strict=True)),
            images_with=tuple(
                a + b for a, b in zip(self.images_with, other.images_with, strict=True)
            ),
            ignored=self.ignored + other.ignored,
        )

    def to_plain(self) -> dict[str, Any]:
        """Returns JSON from which `from_plain` makes the same counts."""
        return dataclasses.asdict(self)

    @property
    def all_pixels(self) -> int:
        """Number of pixels, with those that are ignored."""
        return sum(self.pixels) + self.ignored

    @property
    def is_labelled(self) -> bool:
        """Whether any pixel belongs to a class."""
        return any(self.pixels)

    def by_name(self, names: tuple[str, ...]) -> dict[str, Any]:
        """Returns pixels and images by the classes' names, as JSON for people."""
        rows = zip(names, self.pixels, self.images_with, strict=True)
        return {
            "images": self.images,
            "ignored_pixels": self.ignored,
            "classes": {name: {"pixels": pixels, "images": n} for name, pixels, n in rows},
        }


class Remedies(NamedTuple):
    """What a user can do about labels that cannot be learnt, as the end of a message.

    Attributes:
        unlabelled: where no pixel that is trained on belongs to a class.
        absent: where a class occurs in no training mask; None where that is allowed.
        ignored: where pixels are ignored beside that; `{index}` stands for the first absent class.
    """

    unlabelled: str
    absent: str | None
    ignored: str = ""


def check_learnable(
    counts: Mapping[str, LabelCounts], classes: DatasetClasses, remedies: Remedies
) -> None:
    """Refuses labels from which training would learn nothing, or not all classes.

    Training splits are those whose names begin with "train"; without one, all splits together. The
    others need no labels: those of some test splits are not published.

    Args:
        counts: of each split.
        classes: the data set's.
        remedies: what to do.

    Raises:
        InputError: no training pixel belongs to a class, or a class occurs in no training mask.
    """
    training = training_splits(counts)
    total = LabelCounts.nothing(classes.num_classes)
    for split in training:
        total += counts[split]
    where = quoted(training)
    if not total.is_labelled:
        raise InputError(
            f"the masks of split {where} are ignored everywhere, so there is nothing to learn; "
            f"{remedies.unlabelled}"
        )
    absent = [i for i, pixels in enumerate(total.pixels) if not pixels]
    if absent and remedies.absent is not None:
        named = ", ".join(f"'{classes.names[i]}' ({i})" for i in absent[:_MOST_NAMED])
        named += f" and {len(absent) - _MOST_NAMED} more" if len(absent) > _MOST_NAMED else ""
        occur = f"class {named} occurs" if len(absent) == 1 else f"classes {named} occur"
        ignored = _percent(total.ignored, total.all_pixels)
        advice = [remedies.absent]
        if total.ignored and remedies.ignored:
            advice.insert(0, remedies.ignored.format(index=absent[0]))
        elsewhere = [split for split, of in counts.items() if any(of.pixels[i] for i in absent)]
        if elsewhere:
            advice.insert(0, f"masks of split '{elsewhere[0]}' have it: give {where} some of those")
        raise InputError(
            f"{occur} in no mask of split {where}, where {ignored} % of the pixels are ignored; "
            f"{'; '.join(advice)}"
        )


def counts_table(counts: Mapping[str, LabelCounts], classes: DatasetClasses) -> rich.table.Table:
    """Returns a row a class: its share of the pixels of each split, and how many images have it."""
    table = rich.table.Table(title="percent of all pixels, and number of images with the class")
    table.add_column("class")
    for split, of_split in counts.items():
        table.add_column(f"{split} %", justify="right")
        table.add_column(f"of {of_split.images} images", justify="right")
    for index, name in enumerate(classes.names):
        row = []
        for of_split in counts.values():
            row.append(_percent(of_split.pixels[index], of_split.all_pixels))
            row.append(str(of_split.images_with[index]))
        table.add_row(Text(printable(f"{index} {name}")), *row)
    table.add_section()
    ignored = []
    for of_split in counts.values():
        ignored += [_percent(of_split.ignored, of_split.all_pixels), ""]
    table.add_row("ignored", *ignored)
    return table


def _percent(part: int, whole: int) -> str:
    """Returns such as "12.34"; never "0.00" of what there is, nor "100.00" of what is not all."""
    if not part:
        return "0"
    if part == whole:
        return "100"
    percent = f"{100 * part / whole:.2f}"
    return {"0.00": "<0.01", "100.00": ">99.99"}.get(percent, percent)
