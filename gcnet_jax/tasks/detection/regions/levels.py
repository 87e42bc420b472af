"""The level of a feature pyramid that a box is looked at in."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def region_levels(
    boxes: Float[Array, "n 4"], *, levels: int = 4, finest: int = 56
) -> Int[Array, "n"]:
    """Returns the level of each box: 0 for sides below twice `finest`, one more for each doubling.

    The side is that of the square of the same area, plus a millionth of `finest`, as in
    mmdetection's `SingleRoIExtractor.map_roi_levels`. A box without area is of level 0.

    Args:
        boxes: (x1, y1, x2, y2) in pixels.
        levels: how many there are; larger boxes are of the last.
        finest: the side in pixels from which a box is in level 0 by rights.
    """
    widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    sides = jnp.sqrt(jnp.maximum(widths * heights, 0)) / finest + 1e-6
    # Compared with the powers, since a logarithm is a whole number only up to rounding.
    reached = sides[:, None] >= 2.0 ** jnp.arange(1, levels)
    return jnp.sum(reached, axis=1, dtype=jnp.int32)
