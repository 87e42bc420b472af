"""Masks of objects in their boxes, put into the image."""

from types import ModuleType
from typing import Any

import jax.numpy as jnp
import numpy as np
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
    by_row = _shares(boxes[:, 1], boxes[:, 3], 0, height, bins, jnp)
    by_column = _shares(boxes[:, 0], boxes[:, 2], 0, width, bins, jnp)
    rows = jnp.einsum("nyi,nij->nyj", by_row, probabilities, precision=lax.Precision.HIGHEST)
    stripe = min(_STRIPE, height)

    def add(k: Array, pixels: Array) -> Array:
        begin = jnp.minimum(k * stripe, height - stripe)  # the last overlaps the one before it
        part = lax.dynamic_slice_in_dim(rows, begin, stripe, axis=1)
        part = jnp.einsum("nyj,nxj->nyx", part, by_column, precision=lax.Precision.HIGHEST)
        return lax.dynamic_update_slice_in_dim(pixels, part >= threshold, begin, axis=1)

    nothing = jnp.zeros((boxes.shape[0], height, width), bool)
    return lax.fori_loop(0, -(-height // stripe), add, nothing)


def paste_on_host(
    probabilities: Float[np.ndarray, "bins bins"],
    box: Float[np.ndarray, "4"],
    shape: tuple[int, int],
    *,
    threshold: float = 0.5,
) -> Bool[np.ndarray, "h w"]:
    """Returns the pixels of one object, as `paste` does, with NumPy and for an image of any size.

    It takes as long as the box is large, not the image.

    Args:
        probabilities: of each bin.
        box: (x1, y1, x2, y2) in pixels of the image.
        shape: (height, width) of the image.
        threshold: above 0.
    """
    pixels = np.zeros(shape, bool)
    if not np.isfinite(box).all():  # it has no first pixel
        return pixels
    box = np.asarray(box, np.float32)
    bins = probabilities.shape[-1]
    within, shares = [], []
    for axis, length in enumerate(shape):
        low, high = box[1 - axis], box[3 - axis]
        reach = (high - low) / bins / 2  # half a bin, where probabilities fall to zero
        begin, end = (int(np.clip(at, 0, length)) for at in (low - reach - 1, high + reach + 2))
        within.append(slice(begin, end))
        shares.append(_shares(low, high, begin, end, bins, np))
    part = shares[0] @ np.asarray(probabilities, np.float32) @ shares[1].T
    pixels[tuple(within)] = part >= threshold
    return pixels


def _shares(
    low: Any, high: Any, begin: int, end: int, bins: int, numpy: ModuleType
) -> Float[Array, "*n pixels bins"]:
    """What pixels from `begin` to `end` take of each bin, by NumPy or by JAX's.

    It is zero where a box is empty, or of no size that could be told.
    """
    size = numpy.asarray(high - low)[..., None]
    centres = numpy.arange(begin, end, dtype=numpy.float32) + 0.5
    some = (size > 0) & (size < numpy.inf)
    at = (centres - numpy.asarray(low)[..., None]) / numpy.where(some, size, 1) * bins - 0.5
    distance = numpy.abs(at[..., None] - numpy.arange(bins, dtype=numpy.float32))
    return numpy.where(some[..., None], numpy.maximum(1 - distance, 0), 0)
