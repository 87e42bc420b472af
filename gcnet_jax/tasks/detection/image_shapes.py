"""Few array shapes for images of all sizes: the aspect of an image decides in which it lies."""

import functools
import math

from gcnet_jax.tasks.detection.detector import DIVISOR

Size = tuple[int, int]
"""Height and width in pixels."""

_ASPECTS = (1.0, 4 / 3, 3 / 2)
"""Aspects that most photographs have, the longer side over the shorter."""


def array_shape(size: Size, scale: tuple[int, int]) -> Size:
    """The shape of the array for an image, the smallest of few that it fits into.

    There is one for squares, for the aspects 4:3 and 3:2, for that of `scale`, and for what is
    still longer; and for each the one that stands upright. An image lies at the top left.

    Args:
        size: of an image that was resized to fit the scale.
        scale: bounds on the long and the short edge, in any order.
    """
    height, width = size
    return next(
        (rows, columns)
        for rows, columns in array_shapes(scale)
        if rows >= height and columns >= width
    )


def array_shapes(scale: tuple[int, int]) -> list[Size]:
    """All shapes that `array_shape` chooses among, the smallest first."""
    return _shapes(max(scale), min(scale))


@functools.cache
def _shapes(long: int, short: int) -> list[Size]:
    widest = long / short
    lying = set()
    for aspect in (*_ASPECTS, widest, 2 * widest):
        width = math.ceil(min(long, short * aspect))
        height = short if aspect <= widest else math.ceil(long / aspect)
        lying.add((_padded(height), _padded(width)))
    return sorted(lying | {(width, height) for height, width in lying}, key=math.prod)


def _padded(length: int) -> int:
    return -(-length // DIVISOR) * DIVISOR
