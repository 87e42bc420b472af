"""The mask of one object in its box, put into the image with NumPy: images may have any size."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

_BEYOND = 2  # bins of zeros around the others, which pixels outside take


class PastedPart(NamedTuple):
    """The rectangle of an image beyond which no pixel is an object's.

    Attributes:
        pixels: which of its pixels are; by columns, as run lengths go through them.
        top: the row of the image that it begins with.
        left: its first column.
    """

    pixels: Bool[np.ndarray, "w h"]
    top: int
    left: int


def paste_part(
    probabilities: Float[np.ndarray, "bins bins"],
    box: Float[np.ndarray, "4"],
    size: tuple[int, int],
    *,
    threshold: float = 0.5,
) -> PastedPart:
    """Returns the pixels of one object, as `regions.pasting.paste` finds them.

    It takes as long as the box is large, not the image, and a few tens of microseconds at least. A
    pixel lies between two rows and two columns of bins, so this looks at no others; a product of
    matrices would start threads for each object.

    Args:
        probabilities: of each bin.
        box: (x1, y1, x2, y2) in pixels of the image.
        size: (height, width) of the image.
        threshold: above 0.
    """
    box = np.asarray(box, np.float32)
    if not np.isfinite(box).all() or not (box[2] > box[0] and box[3] > box[1]):
        return PastedPart(np.zeros((0, 0), bool), 0, 0)
    bins = len(probabilities)
    padded = np.zeros((bins + 2 * _BEYOND, bins + 2 * _BEYOND), np.float32)
    padded[_BEYOND:-_BEYOND, _BEYOND:-_BEYOND] = probabilities.T
    top, row, down = _places(box[1], box[3], size[0], bins)
    left, column, right = _places(box[0], box[2], size[1], bins)
    with np.errstate(invalid="ignore"):  # a box too small for its bins to be told apart
        by_row = padded[:, row] * (1 - down) + padded[:, row + 1] * down
        pixels = by_row[column]
        pixels *= (1 - right)[:, None]
        pixels += by_row[column + 1] * right[:, None]
        return PastedPart(pixels >= threshold, top, left)


def paste_on_host(
    probabilities: Float[np.ndarray, "bins bins"],
    box: Float[np.ndarray, "4"],
    size: tuple[int, int],
    *,
    threshold: float = 0.5,
) -> Bool[np.ndarray, "h w"]:
    """Returns which pixels of a whole image are an object's; arguments as of `paste_part`."""
    part = paste_part(probabilities, box, size, threshold=threshold)
    pixels = np.zeros(size, bool)
    width, height = part.pixels.shape
    pixels[part.top : part.top + height, part.left : part.left + width] = part.pixels.T
    return pixels


def _places(
    low: np.float32, high: np.float32, length: int, bins: int
) -> tuple[int, Int[np.ndarray, " pixels"], Float[np.ndarray, " pixels"]]:
    """The pixels that a box reaches, along one axis.

    Returns:
        The first of them; of each the bin before its centre, counted with those beyond; and how far
        it is from there to the next.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        reach = (high - low) / bins / 2  # half a bin, where probabilities fall to zero
        begin = int(np.clip(low - reach - 1, 0, length))
        end = int(np.clip(high + reach + 2, 0, length))
        centres = np.arange(begin, end, dtype=np.float32) + np.float32(0.5)
        at = (centres - low) / (high - low) * bins - np.float32(0.5)
        before = np.floor(at)
        place = np.clip(before, -_BEYOND, bins).astype(np.intp) + _BEYOND
        return begin, place, (at - before).astype(np.float32)
