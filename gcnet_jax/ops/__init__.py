"""Pure functions on arrays."""

from gcnet_jax.ops.convolution import conv_general_dilated
from gcnet_jax.ops.losses import cross_entropy, pixel_accuracy, pixel_cross_entropy
from gcnet_jax.ops.masking import inside, strided, zero_outside
from gcnet_jax.ops.normalization import (
    IMAGE_MEAN,
    IMAGE_STD,
    check_normalized,
    check_pixels,
    check_pixels_of_image,
    check_sizes,
    normalize_images,
)
from gcnet_jax.ops.resize import apply_separable, interpolation_matrix, resize_bilinear

__all__ = [
    "IMAGE_MEAN",
    "IMAGE_STD",
    "apply_separable",
    "check_normalized",
    "check_pixels",
    "check_pixels_of_image",
    "check_sizes",
    "conv_general_dilated",
    "cross_entropy",
    "inside",
    "interpolation_matrix",
    "normalize_images",
    "pixel_accuracy",
    "pixel_cross_entropy",
    "resize_bilinear",
    "strided",
    "zero_outside",
]
