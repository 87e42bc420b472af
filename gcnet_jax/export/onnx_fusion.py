"""Operators of a network as what runs ONNX models fuses them: convolutions followed by Relu.

Other forms of the same sums keep their own operators between the convolutions, and with each a
change of the layout in memory.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.core import Tracer
from jaxtyping import Array


def product_as_convolution(params: Mapping[str, Any], left: Array, right: Array) -> Array:
    """Takes the product of features `(b, h, w, c)` and a kernel `(c, d)` as a convolution of 1x1.

    Args:
        params: of `lax.dot_general`.
        left: what it multiplies.
        right: by what.

    Returns:
        What `lax.dot_general` returns, of other products too.
    """
    of_features = params["dimension_numbers"] == (((3,), (0,)), ((), ()))
    if not of_features or (left.ndim, right.ndim) != (4, 2):
        return lax.dot_general_p.bind(left, right, **params)
    return lax.conv_general_dilated(
        left,
        right[None, None],
        window_strides=(1, 1),
        padding="VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=params["precision"],
        preferred_element_type=params["preferred_element_type"],
    )


def maximum_as_relu(params: Mapping[str, Any], left: Array, right: Array) -> Array:
    """Takes the larger of features and zero as `jax.nn.relu`, which has an operator of its own.

    Args:
        params: of `lax.max`.
        left: an array.
        right: an array.

    Returns:
        What `lax.max` returns, of other arrays than zero too.
    """
    if isinstance(right, Tracer) or np.shape(right) != () or right != 0:
        return lax.max_p.bind(left, right, **params)
    return jax.nn.relu(left)
