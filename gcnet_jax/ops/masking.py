"""Masks of images that lie padded in a larger array, so that each is computed as if alone.

A mask is true at the positions of the image proper. `None` stands for a mask that is true
everywhere, which costs nothing.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer


def inside(sizes: Integer[Array, "b axes"], lengths: tuple[int, ...]) -> Bool[Array, "b *lengths"]:
    """The mask of images of given sizes that lie at the lower end of each axis.

    Args:
        sizes: of each image, along every spatial axis.
        lengths: of the array's spatial axes.
    """
    mask = jnp.ones((sizes.shape[0], *(1 for _ in lengths)), bool)
    for axis, length in enumerate(lengths):
        positions = jnp.arange(length).reshape(-1, *(1 for _ in lengths[axis + 1 :]))
        mask = mask & (positions < sizes[:, axis].reshape(-1, *(1 for _ in lengths)))
    return mask


def zero_outside(
    x: Float[Array, "b *spatial c"], mask: Bool[Array, "b *spatial"] | None
) -> Float[Array, "b *spatial c"]:
    """`x` with zeros where the mask is false: what a convolution finds beyond an image's border."""
    return x if mask is None else jnp.where(mask[..., None], x, jnp.zeros((), x.dtype))


def strided(mask: Bool[Array, "b h w"] | None, stride: int) -> Bool[Array, "b out_h out_w"] | None:
    """The mask of what a layer with a stride makes of images with this mask.

    Layers here are padded such that `n` positions become `n / stride`, rounded up: output `i` is
    there if input `i * stride` is.
    """
    return mask if mask is None or stride == 1 else mask[:, ::stride, ::stride]
