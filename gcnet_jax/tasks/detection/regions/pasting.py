"""Masks of objects in their boxes, put into the image."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

_STRIPE = 64
"""Rows of the image of which probabilities are there at a time."""


def paste(
    probabilities: Float[Array, "n bins bins"],
    boxes: Float[Array, "n 4"],
    shape: tuple[int, int],
    *,
    threshold: float = 0.5,
) -> Bool[Array, "n h w"]:
    """Returns which pixels of an image belong to each object.

    A pixel does if the probability at its centre, between those of the bins' centres, reaches the
    threshold; beyond the outermost centres probabilities fall to zero within a bin, as in
    mmdetection's `_do_paste_mask`. A box without area has no pixels.

    Args:
        probabilities: of each bin of each box.
        boxes: (x1, y1, x2, y2) in pixels of the image.
        shape: (height, width) of the image, fixed when this is compiled.
        threshold: above 0.
    """
    height, width = shape
    bins = probabilities.shape[-1]
    by_row = _shares(boxes[:, 1], boxes[:, 3], height, bins)
    by_column = _shares(boxes[:, 0], boxes[:, 2], width, bins)
    rows = jnp.einsum("nyi,nij->nyj", by_row, probabilities, precision=lax.Precision.HIGHEST)
    stripe = min(_STRIPE, height)

    def add(k: Array, pixels: Array) -> Array:
        begin = jnp.minimum(k * stripe, height - stripe)  # the last overlaps the one before it
        part = lax.dynamic_slice_in_dim(rows, begin, stripe, axis=1)
        part = jnp.einsum("nyj,nxj->nyx", part, by_column, precision=lax.Precision.HIGHEST)
        return lax.dynamic_update_slice_in_dim(pixels, part >= threshold, begin, axis=1)

    nothing = jnp.zeros((boxes.shape[0], height, width), bool)
    return lax.fori_loop(0, -(-height // stripe), add, nothing)


def _shares(
    low: Float[Array, " n"], high: Float[Array, " n"], pixels: int, bins: int
) -> Float[Array, "n pixels bins"]:
    """What each pixel takes of each bin; nothing where a box is empty, or of no size to tell."""
    size = (high - low)[:, None]
    centres = jnp.arange(pixels, dtype=jnp.float32) + 0.5
    some = (size > 0) & (size < jnp.inf)
    at = (centres - low[:, None]) / jnp.where(some, size, 1) * bins - 0.5
    distance = jnp.abs(at[..., None] - jnp.arange(bins, dtype=jnp.float32))
    return jnp.where(some[..., None], jnp.maximum(1 - distance, 0), 0)
