"""Anchors: boxes of a few shapes around every position of a feature map.

An anchor's center is at (x * stride, y * stride), without half a pixel, and nothing is rounded
(mmdetection's `AnchorGenerator`). The order is row by row, position by position, ratio by ratio.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Integer


def anchors(
    shape: tuple[int, int],
    stride: int,
    *,
    scale: float = 8.0,
    ratios: Sequence[float] = (0.5, 1.0, 2.0),
) -> Float32[np.ndarray, "positions_and_ratios 4"]:
    """All anchors of a feature map, of `height * width * len(ratios)` rows, in pixels of the image.

    Args:
        shape: (height, width) of the feature map.
        stride: of the feature map, in pixels.
        scale: the side of a square anchor in strides.
        ratios: heights over widths; the area is the same for all.
    """
    height_ratios = np.sqrt(np.asarray(ratios, np.float32))
    side = np.float32(stride)
    heights = side * height_ratios * np.float32(scale)
    widths = side * (np.float32(1) / height_ratios) * np.float32(scale)
    around_zero = np.float32(0.5) * np.stack([-widths, -heights, widths, heights], axis=-1)
    ys, xs = (np.arange(length, dtype=np.float32) * side for length in shape)
    xs, ys = np.meshgrid(xs, ys)
    centers = np.stack([xs, ys, xs, ys], axis=-1)
    return (centers[:, :, None] + around_zero).reshape(-1, 4)


def within_padding(
    shape: tuple[int, int],
    stride: int,
    padded_size: Integer[Array, "2"],
    *,
    anchors_per_position: int = 3,
) -> Bool[Array, "positions_and_ratios"]:
    """Whether anchors are at positions of an image's own, of a map that may have more.

    Args:
        shape: (height, width) of the feature map.
        stride: of the feature map, in pixels.
        padded_size: (height, width) of the image with the padding that counts as its own.
        anchors_per_position: how many follow each other.
    """
    own = (jnp.asarray(padded_size) + stride - 1) // stride
    rows, columns = jnp.arange(shape[0]) < own[0], jnp.arange(shape[1]) < own[1]
    return jnp.repeat((rows[:, None] & columns).reshape(-1), anchors_per_position)


def within_border(
    anchors: Float[Array, "n 4"], size: Integer[Array, "2"], border: int
) -> Bool[Array, "n"]:
    """Whether anchors reach over an image's border by no more than allowed.

    Args:
        anchors: in pixels.
        size: (height, width) of the image without padding.
        border: pixels by which they may; negative for any number. The upper limit itself is
            outside, as in the reference.
    """
    if border < 0:
        return jnp.ones(anchors.shape[:1], bool)
    height, width = jnp.asarray(size, jnp.float32)
    x1, y1, x2, y2 = jnp.moveaxis(jnp.asarray(anchors), -1, 0)
    inside_low = (x1 >= -border) & (y1 >= -border)
    return inside_low & (x2 < width + border) & (y2 < height + border)
