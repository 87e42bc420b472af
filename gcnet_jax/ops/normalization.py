"""From 8-bit RGB to what the networks take, and checks that images are the one or the other."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Integer, UInt8

from gcnet_jax.errors import InputError
from gcnet_jax.ops.masking import inside, zero_outside

IMAGE_MEAN = (123.675, 116.28, 103.53)
IMAGE_STD = (58.395, 57.12, 57.375)

_LARGEST_NORMALIZED = 10.0
"""Well above 2.64, what a white pixel becomes, to leave room for noise; far below 255."""


def normalize_images(
    images: UInt8[Array, "b h w 3"], sizes: Integer[Array, "b 2"] | None = None
) -> Float[Array, "b h w 3"]:
    """Subtracts the ImageNet mean and divides by the standard deviation of each RGB channel.

    Args:
        images: RGB, 0 to 255.
        sizes: (height, width) of each image proper, at the top left of its array. What lies outside
            becomes zero *after* normalisation, which is how the reference pads.

    Raises:
        InputError: the images are not of 8 bits (of floats nobody can tell whether they end at 255,
            at 1, or are normalised already), or images or sizes have another shape.
    """
    check_pixels(images)
    check_sizes(sizes, images)
    normalized = (images.astype(jnp.float32) - jnp.asarray(IMAGE_MEAN)) / jnp.asarray(IMAGE_STD)
    if sizes is None:
        return normalized
    return zero_outside(normalized, inside(sizes, (images.shape[1], images.shape[2])))


def check_pixels(images: Any) -> None:
    """Raises InputError unless images are `(batch, height, width, 3)` of 8 bits."""
    _check_array(images)
    if images.dtype != np.uint8:
        raise InputError(
            f"the images have the dtype {images.dtype}; expected uint8, RGB from 0 to 255"
        )
    check_image_shape(images)


def check_pixels_of_image(image: Any) -> None:
    """Raises InputError unless an image is `(height, width, 3)` of 8 bits."""
    shape = tuple(image.shape)
    if image.dtype != np.uint8:
        raise InputError(
            f"the image has the dtype {image.dtype}; expected uint8, RGB from 0 to 255"
        )
    if len(shape) != 3 or shape[-1] != 3 or 0 in shape:
        advice = ""
        if len(shape) == 4:
            advice = ": of a batch give the images as a list"
        elif len(shape) == 3 and shape[0] == 3:
            advice = ": channels come last, image.transpose(1, 2, 0)"
        raise InputError(f"the image has the shape {shape}; expected (height, width, 3){advice}")


def check_normalized(images: Any) -> None:
    """Raises InputError unless images may be what `normalize_images` returns.

    Type and shape are checked always. Values are seen outside of compiled functions alone, where
    floats up to 255 are told from normalised ones; floats from 0 to 1 cannot be.
    """
    _check_array(images)
    remedy = "give them to gcnet_jax.normalize_images as uint8 first"
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise InputError(
            f"the images have the dtype {images.dtype}; expected normalised floats: {remedy}"
        )
    check_image_shape(images)
    if isinstance(images, Tracer):
        return
    if isinstance(images, jax.Array) and not images.is_fully_addressable:
        return
    with jax.ensure_compile_time_eval():  # for what is a constant of a function that is compiled
        largest = float(jnp.max(jnp.abs(images)))
    if not largest <= _LARGEST_NORMALIZED:
        raise InputError(
            f"the images have values up to {largest:.4g}; normalised ones lie from -2.2 to 2.7: "
            f"{remedy}"
        )


def check_image_shape(images: Any) -> None:
    """Raises InputError unless an array is `(batch, height, width, 3)`, with something in it."""
    shape = tuple(images.shape)
    advice = ""
    if len(shape) == 3 and shape[-1] == 3:
        advice = ": add the axis of the batch, images[None]"
    elif len(shape) == 4 and shape[1] == 3 and shape[-1] != 3:
        advice = ": channels come last, images.transpose(0, 2, 3, 1)"
    if len(shape) != 4 or shape[-1] != 3 or 0 in shape:
        raise InputError(
            f"the images have the shape {shape}; expected (batch, height, width, 3){advice}"
        )


def check_sizes(sizes: Any, images: Any) -> None:
    """Raises InputError unless sizes are whole (height, width) of each image, or None.

    Type and shape are checked always. Whether the images fit their arrays is seen outside of
    compiled functions alone.
    """
    if sizes is None:
        return
    expected = (images.shape[0], 2)
    if not isinstance(sizes, jax.Array | np.ndarray):
        raise InputError(f"the sizes are a {type(sizes).__name__}; expected an array")
    if sizes.shape != expected or not jnp.issubdtype(sizes.dtype, jnp.integer):
        raise InputError(
            f"the sizes have the shape {sizes.shape} and the dtype {sizes.dtype}; expected whole "
            f"numbers, (height, width) of each image, of the shape {expected}"
        )
    if isinstance(sizes, Tracer) or (
        isinstance(sizes, jax.Array) and not sizes.is_fully_addressable
    ):
        return
    largest = np.array(images.shape[1:3])
    outside = (np.asarray(sizes) < 1) | (np.asarray(sizes) > largest)
    if outside.any():
        index = int(np.nonzero(outside.any(axis=1))[0][0])
        raise InputError(
            f"image {index} has the size {tuple(np.asarray(sizes)[index].tolist())}; expected "
            f"(height, width) from 1 to those of the array, {tuple(largest.tolist())}"
        )


def _check_array(images: Any) -> None:
    if not isinstance(images, jax.Array | np.ndarray):
        raise InputError(f"the images are a {type(images).__name__}; expected an array")
