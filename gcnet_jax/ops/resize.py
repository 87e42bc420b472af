"""Bilinear resizing of feature maps, as `torch.nn.functional.interpolate` defines it."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


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
    """
    if features.shape[1:3] == tuple(size):
        return features
    scales, offsets = zip(
        *(
            _scale_and_offset(n_in, n_out, align_corners)
            for n_in, n_out in zip(features.shape[1:3], size, strict=True)
        ),
        strict=True,
    )
    shape = (features.shape[0], *size, features.shape[3])
    return jax.image.scale_and_translate(
        features,
        shape,
        spatial_dims=(1, 2),
        scale=jnp.asarray(scales, jnp.float32),
        translation=jnp.asarray(offsets, jnp.float32),
        method="linear",
        antialias=False,
    )


def _scale_and_offset(n_in: int, n_out: int, align_corners: bool) -> tuple[float, float]:
    """Output position = scale * input position + offset, both measured from the outer edge."""
    if not align_corners:
        return n_out / n_in, 0.0
    # With one sample on either side every output reads input pixel 0, whose centre is at 0.5: a
    # scale this large maps all output positions to within rounding of that centre.
    scale = 1e6 if n_in == 1 or n_out == 1 else (n_out - 1) / (n_in - 1)
    return scale, 0.5 - 0.5 * scale
