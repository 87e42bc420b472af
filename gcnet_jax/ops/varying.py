"""Arrays in a `jax.shard_map`, whose types say over which axes of the mesh they vary."""

from typing import Any

import jax
from jax import lax
from jaxtyping import Array, Shaped


def varying_alike(*arrays: Shaped[Array, "..."]) -> tuple[Shaped[Array, "..."], ...]:
    """Returns arrays that vary over the same axes of a `jax.shard_map`: all that any varies over.

    JAX has the operands of its own operators do so. The transpose sums a cotangent over the devices
    that share the array. Outside of a `jax.shard_map` nothing is done.
    """
    axes = [jax.typeof(x).manual_axis_type.varying for x in arrays]
    union = frozenset[Any]().union(*axes)
    return tuple(
        lax.pcast(x, tuple(sorted(union - own)), to="varying") if union - own else x
        for x, own in zip(arrays, axes, strict=True)
    )
