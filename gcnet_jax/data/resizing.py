"""Sizes of resized images, and resizing them."""

import cv2
import numpy as np
from jaxtyping import Int, UInt8


def rescaled_size(size: tuple[int, int], scale: tuple[int, int]) -> tuple[int, int]:
    """Returns the greatest size of the same aspect that fits a scale, as mmcv's `rescale_size`.

    Args:
        size: (height, width) of the image.
        scale: bounds on the long and the short edge, in any order; they count as 1 at least.

    Returns:
        (height, width), rounded half up, and 1 at least: of thin images mmcv would leave nothing.
    """
    long, short = (max(1, bound(scale)) for bound in (max, min))
    factor = min(long / max(size), short / min(size))
    height, width = (max(1, int(length * factor + 0.5)) for length in size)
    return height, width


def resize_image(
    image: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]
) -> UInt8[np.ndarray, "out_h out_w 3"]:
    """Resizes to (height, width) bilinearly."""
    if image.shape[:2] == size:
        return image
    return cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)


def resize_to_fit(
    image: UInt8[np.ndarray, "h w 3"], scale: tuple[int, int]
) -> UInt8[np.ndarray, "out_h out_w 3"]:
    """Resizes bilinearly to the greatest size that fits a scale, see `rescaled_size`."""
    return resize_image(image, rescaled_size((image.shape[0], image.shape[1]), scale))


def fit_in_words(scale: tuple[int, int]) -> str:
    """What `resize_to_fit` does to images, for people."""
    return (
        f"resized, in their own aspect, until the longer edge has {max(scale)} pixels or the "
        f"shorter {min(scale)}, whichever comes first"
    )


def nearest_pixels(
    old_length: int, new_length: int, start: int = 0, count: int | None = None
) -> Int[np.ndarray, " n"]:
    """Returns which pixels `cv2.INTER_NEAREST` takes for those of a resized axis.

    Args:
        old_length: of the axis.
        new_length: of the resized one.
        start: the first pixel there to return one for.
        count: of how many; fewer where the axis ends, and all that follow if None.
    """
    step = 1 / (new_length / old_length)  # rounded twice, as there
    end = new_length if count is None else min(start + count, new_length)
    return np.minimum((np.arange(start, end) * step).astype(int), old_length - 1)
