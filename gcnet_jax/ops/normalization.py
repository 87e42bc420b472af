"""From 8-bit RGB to what the networks take."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Integer, UInt8

from gcnet_jax.ops.masking import inside, zero_outside

IMAGE_MEAN = (123.675, 116.28, 103.53)
IMAGE_STD = (58.395, 57.12, 57.375)


def normalize_images(
    images: UInt8[Array, "b h w 3"], sizes: Integer[Array, "b 2"] | None = None
) -> Float[Array, "b h w 3"]:
    """Subtracts the ImageNet mean and divides by the standard deviation of each RGB channel.

    Args:
        images: RGB, 0 to 255.
        sizes: (height, width) of each image proper, at the top left of its array. What lies outside
            becomes zero *after* normalisation, which is how the reference pads.
    """
    normalized = (images.astype(jnp.float32) - jnp.asarray(IMAGE_MEAN)) / jnp.asarray(IMAGE_STD)
    if sizes is None:
        return normalized
    return zero_outside(normalized, inside(sizes, (images.shape[1], images.shape[2])))
