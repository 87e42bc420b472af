"""Masks of images that are displayed otherwise than they are stored (EXIF orientation)."""

import numpy as np
from etils import epath
from jaxtyping import UInt8

from gcnet_jax.config import Orientation
from gcnet_jax.data.orientation import turned
from gcnet_jax.errors import InputError


def as_displayed(
    label: UInt8[np.ndarray, "h w"],
    label_file: epath.Path,
    size: tuple[int, int],
    image_file: epath.Path,
    orientation: int,
    made_on: Orientation | None,
) -> UInt8[np.ndarray, "out_h out_w"]:
    """Returns a mask turned as its image is displayed.

    Whether the mask was made on the image as it is displayed or as it is stored, its size says
    where it can.

    Args:
        label: the mask.
        label_file: where it is from, for messages.
        size: (height, width) of the image as it is displayed.
        image_file: where that is from.
        orientation: the image's, 1 to 8.
        made_on: what to take where both sizes fit; None where nobody has said.

    Raises:
        InputError: neither size fits; or both do, it makes a difference, and nobody has said.
    """
    stored_size = size[::-1] if orientation >= 5 else size
    if label.shape not in (size, stored_size):
        expected = f"expected {_text(size)}, the size of {image_file}"
        if orientation != 1:
            expected += (
                f" as it is displayed, or {_text(stored_size)}, as it is stored (its EXIF "
                f"orientation is {orientation})"
            )
        raise InputError(f"{label_file} is {_text(label.shape)} (height x width), {expected}")
    if label.shape != stored_size or orientation == 1:
        return label
    of_stored = turned(label, orientation)
    if label.shape != size or np.array_equal(of_stored, label):
        return of_stored
    if made_on is None:
        raise InputError(
            f"{image_file} has the EXIF orientation {orientation}, and {label_file} fits it as "
            "displayed and as stored; say what masks were made on where both fit: "
            "--orientation=displayed or --orientation=stored"
        )
    return of_stored if made_on == "stored" else label


def _text(size: tuple[int, ...]) -> str:
    height, width = size
    return f"{height}x{width}"
