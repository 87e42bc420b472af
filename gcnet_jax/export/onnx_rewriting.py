"""Operators of JAX that jax2onnx lacks or knows in part, in terms of those that it knows.

Each takes the parameters of an operator and its arrays, see `gcnet_jax.export.folding`. Batches are
open: of what is known of lengths they make use where jax2onnx asks for numbers.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from gcnet_jax.export import onnx_operators


def _max_pool(params: Mapping[str, Any], x: Array) -> Array:
    """`reduce_window_max` of images, which jax2onnx knows for no more than one spatial axis."""
    window, strides, padding = (
        tuple(params[name][1:-1]) for name in ("window_dimensions", "window_strides", "padding")
    )
    first = jnp.moveaxis(x, -1, 1)
    pooled = onnx_operators.max_pool(first, window=window, strides=strides, padding=padding)
    return jnp.moveaxis(pooled, 1, -1)


def _remainder(params: Mapping[str, Any], x: Array, y: Array) -> Array:
    """`rem`, which jax2onnx knows for no open lengths."""
    if not jnp.issubdtype(x.dtype, jnp.integer):
        return lax.rem(x, y)
    return x - y * lax.div(x, jnp.broadcast_to(y, x.shape))


def _pad(params: Mapping[str, Any], x: Array, value: Array) -> Array:
    """`pad`, which jax2onnx knows for no open lengths."""
    config = params["padding_config"]
    if any(low < 0 or high < 0 or interior for low, high, interior in config):
        return lax.pad(x, value, config)
    for axis, (low, high, _) in enumerate(config):
        shape = list(x.shape)
        parts = [x]
        for count, place in ((low, 0), (high, 2)):
            shape[axis] = int(count)
            if count:
                parts.insert(place, jnp.broadcast_to(value, shape))
        x = lax.concatenate(parts, axis) if len(parts) > 1 else x
    return x


REWRITTEN: Mapping[str, Callable[..., Any]] = {
    "pad": _pad,
    "reduce_window_max": _max_pool,
    "rem": _remainder,
}
"""What takes the place of operators by their names."""
