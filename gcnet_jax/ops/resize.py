"""Bilinear resizing of feature maps, as `torch.nn.functional.interpolate` defines it."""

import operator

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Integer

from gcnet_jax.errors import InputError


def resize_bilinear(
    features: Float[Array, "b h w c"], size: tuple[int, int], *, align_corners: bool = False
) -> Float[Array, "b out_h out_w c"]:
    """Resizes without antialiasing, growing or shrinking.

    Args:
        features: maps to resize.
        size: (height, width) of the result.
        align_corners: whether the centres of the corner pixels coincide (true), or the outer edges
            of the corner pixels do (false).

    Returns:
        The resized maps, in the dtype of `features`.

    Raises:
        InputError: the features are no floats, which would be cut to whole numbers, or of another
            rank; or a side of `size` is below one.
    """
    if features.ndim != 4 or not jnp.issubdtype(features.dtype, jnp.floating):
        raise InputError(
            f"the features to resize have the shape {features.shape} and the dtype "
            f"{features.dtype}; expected floats, (batch, height, width, channels)"
        )
    if len(size) != 2 or any(operator.index(length) < 1 for length in size):
        raise InputError(f"the size to resize to is {size}; expected (height, width) from 1")
    if features.shape[1:3] == tuple(size):
        return features
    rows, columns = (
        interpolation_matrix(
            jnp.array([n_in]), jnp.array([n_out]), (n_in, n_out), align_corners=align_corners
        )
        for n_in, n_out in zip(features.shape[1:3], size, strict=True)
    )
    resized = apply_separable(features, rows, columns)
    return resized.astype(features.dtype)


def interpolation_matrix(
    n_in: Integer[Array, " b"],
    n_out: Integer[Array, " b"],
    lengths: tuple[int, int],
    *,
    align_corners: bool,
    first: Integer[Array, " b"] | int = 0,
) -> Float[Array, "b length_out length_in"]:
    """Bilinear resizing along one axis as a matrix, for every image from and to its own size.

    `jax.image` resizes whole arrays: it would interpolate between an image's last position and the
    padding behind it. Positions are fractions of whole numbers here, and computed as such: rounding
    does not grow with the size.

    Args:
        n_in: positions that each image has, the first ones of `length_in`.
        n_out: positions it gets, the first ones of `length_out`; the rows behind are zero.
        lengths: of the axis before and after: (length_in, length_out).
        align_corners: see `resize_bilinear`.
        first: of the positions after to return `length_out` of.
    """
    length_in, length_out = lengths
    n_in, n_out = n_in[:, None], n_out[:, None]
    out = jnp.reshape(first, (-1, 1)) + jnp.arange(length_out)
    if align_corners:
        numerator, denominator = out * (n_in - 1), jnp.maximum(n_out - 1, 1)
    else:
        numerator, denominator = (2 * out + 1) * n_in - n_out, 2 * n_out
    numerator = jnp.clip(numerator, 0, (n_in - 1) * denominator)
    lower = (numerator // denominator)[..., None]
    share = ((numerator % denominator) / denominator)[..., None]
    position = jnp.arange(length_in)
    weights = jnp.where(position == lower, 1 - share, 0) + jnp.where(
        position == lower + 1, share, 0
    )
    return jnp.where((out < n_out)[..., None], weights, 0)


def apply_separable(
    features: Float[Array, "b h w c"],
    rows: Float[Array, "#b out_h h"],
    columns: Float[Array, "#b out_w w"],
) -> Float[Array, "b out_h out_w c"]:
    """`rows` applied along the height and `columns` along the width, in float32."""
    batch = features.shape[0]
    rows, columns = (jnp.broadcast_to(m, (batch, *m.shape[1:])) for m in (rows, columns))
    resized = jnp.einsum("byh,bhwc->bywc", rows, features, precision=lax.Precision.HIGHEST)
    return jnp.einsum("bxw,bywc->byxc", columns, resized, precision=lax.Precision.HIGHEST)
