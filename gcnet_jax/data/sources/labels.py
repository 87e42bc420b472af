"""Label files of any release, turned into the library's class indices."""

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Mapping

import numpy as np
from etils import epath
from jaxtyping import UInt8

from gcnet_jax.data.catalog import IGNORE_LABEL
from gcnet_jax.data.records import read_image_file
from gcnet_jax.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class LabelTable:
    """Which class the values of a release's label files stand for.

    Attributes:
        classes: class index, or 255 for ignored, of each value that may occur.
        remedy: what to do about another ``{value}``, for a message; nothing where it is empty.
    """

    classes: Mapping[int, int]
    remedy: str = ""

    @classmethod
    def of_indices(cls, num_classes: int, void: int = IGNORE_LABEL) -> "LabelTable":
        """The table of files that hold class indices, and ``void`` where they hold none."""
        return cls({**{index: index for index in range(num_classes)}, void: IGNORE_LABEL})

    def apply(self, values: UInt8[np.ndarray, "h w"], path: epath.Path) -> UInt8[np.ndarray, "h w"]:
        """Returns the class of each pixel.

        Raises:
            InputError: if a value is not in the table; the message names the file and the value.
        """
        classes, allowed = self._lookup
        if not allowed[values].all():
            value = np.unique(values[~allowed[values]])[0]
            ignored = _ranges(v for v, index in self.classes.items() if index == IGNORE_LABEL)
            raise InputError(
                f"{path}: label value {value}; expected {_ranges(self.classes)}, of which "
                f"{ignored or 'none'} is ignored"
                + (f"; {self.remedy.format(value=value)}" if self.remedy else "")
            )
        return classes[values]

    @functools.cached_property
    def _lookup(self) -> tuple[UInt8[np.ndarray, "256"], np.ndarray]:
        classes = np.full(256, IGNORE_LABEL, np.uint8)
        allowed = np.zeros(256, bool)
        for value, index in self.classes.items():
            classes[value] = index
            allowed[value] = True
        return classes, allowed


def read_label_image(path: epath.Path, table: LabelTable) -> UInt8[np.ndarray, "h w"]:
    """Reads a label image and translates its values into classes.

    Raises:
        InputError: if the file is no whole single-channel image, or holds a value that is not in
          the table; the message names the file and the value.
    """
    _, image = read_image_file(path)
    # Pillow hands out the indices of a palette image, where OpenCV would hand out its colours.
    if image.mode not in ("L", "P"):
        raise InputError(
            f"{path}: the label has mode {image.mode}; expected one 8-bit channel of class indices"
        )
    return table.apply(np.asarray(image), path)


def _ranges(values: Iterable[int]) -> str:
    """Such as "0 to 33, 255"."""
    runs = itertools.groupby(enumerate(sorted(values)), key=lambda item: item[1] - item[0])
    bounds = [[value for _, value in run] for _, run in runs]
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else f"{run[0]}" for run in bounds)
