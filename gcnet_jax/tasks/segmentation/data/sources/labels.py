"""Label files of any release, turned into the library's class indices."""

import dataclasses
import functools
import itertools
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from etils import epath
from jaxtyping import UInt8
from PIL import Image

from gcnet_jax.data.image_files import ImageFile, any_number_of_pixels, read_image_file
from gcnet_jax.errors import InputError
from gcnet_jax.tasks.segmentation.data.catalog import IGNORE_LABEL

_LOSSLESS = ("BMP", "GIF", "PNG", "PPM", "TIFF")
_LOSSLESS_TIFF = (None, 1, 5, 8, 32773, 32946, 34925, 50000)  # what is not JPEG, WebP and the like
_PGM_OF_BYTES = re.compile(rb"P[25](\s+(#[^\n]*\n\s*)*\d+){2}\s+(#[^\n]*\n\s*)*255\s")
_PNG_BIT_DEPTH, _BMP_BIT_COUNT = 24, 28  # where they stand in a file


@dataclasses.dataclass(frozen=True, eq=False)
class LabelTable:
    """The classes that the values of a release's label files stand for.

    Attributes:
        classes: class index, or 255 for ignored, of each value that may occur.
        remedy: what to do about another `{value}`, for a message; nothing where it is empty.
    """

    classes: Mapping[int, int]
    remedy: str = ""

    @classmethod
    def of_indices(cls, num_classes: int, void: int = IGNORE_LABEL) -> "LabelTable":
        """The table of files that hold class indices, and `void` where they hold none."""
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


def read_label_image(
    path: epath.Path, max_pixels: int, *, table: LabelTable
) -> UInt8[np.ndarray, "h w"]:
    """Reads a label image and translates its values into classes.

    Values are the bits that the file stores: 1 in an image of one, two or four bits is 1, and
    pixels with a palette are its indices, not its colours.

    Args:
        path: of the file.
        max_pixels: most pixels that it may have.
        table: which class each value stands for.

    Raises:
        InputError: if the file is no whole single-channel image that stores values as they are, or
          holds one that is not in the table; the message names the file and the value.
    """
    return table.apply(_stored_values(read_image_file(path, max_pixels=max_pixels), path), path)


def _stored_values(file: ImageFile, path: epath.Path) -> UInt8[np.ndarray, "h w"]:
    encoded, image, orientation = file
    if image.format not in _LOSSLESS:
        raise InputError(
            f"{path}: the label is a {image.format} file, which need not keep values as they are; "
            "expected class indices without loss, as in a PNG"
        )
    # Pillow hands out the indices of a palette image, where OpenCV would hand out its colours.
    if image.mode not in ("1", "L", "P"):
        raise InputError(
            f"{path}: the label has mode {image.mode}; expected one channel of class indices, of "
            "at most 8 bits"
        )
    if not _is_read_as_stored(encoded, image):
        raise InputError(
            f"{path}: the label is a {image.format} file whose values cannot be read as they are "
            "stored; expected one image of 8 bits without loss, or a PNG"
        )
    if orientation != 1:
        raise InputError(
            f"{path}: the label has an EXIF orientation of its own, {orientation}; save it without"
        )
    values = np.asarray(image).astype(np.uint8)
    if image.format == "PNG" and image.mode == "L":
        values //= 255 // ((1 << encoded[_PNG_BIT_DEPTH]) - 1)  # Pillow makes white 255
    return values


def _is_read_as_stored(encoded: bytes, image: Image.Image) -> bool:
    """Whether there is one image, whose values Pillow leaves as they are (or scales, in a PNG)."""
    with any_number_of_pixels():  # to count them means to read more headers
        if getattr(image, "n_frames", 1) > 1:
            return False
    if image.format == "BMP":
        return encoded[_BMP_BIT_COUNT] == 8 and image.mode != "1"
    if image.format == "PPM":
        return _PGM_OF_BYTES.match(encoded) is not None
    if image.format == "TIFF":
        tags: Any = image.tag_v2  # pyright: ignore[reportAttributeAccessIssue] there in a TIFF
        bits, compression, interpretation = (tags.get(tag) for tag in (258, 259, 262))
        # Of another interpretation than "black is zero" and "palette" Pillow inverts the values.
        return bits == (8,) and compression in _LOSSLESS_TIFF and interpretation in (1, 3)
    return True


def _ranges(values: Iterable[int]) -> str:
    """Such as "0 to 33, 255"."""
    runs = itertools.groupby(enumerate(sorted(values)), key=lambda item: item[1] - item[0])
    bounds = [[value for _, value in run] for _, run in runs]
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else f"{run[0]}" for run in bounds)
