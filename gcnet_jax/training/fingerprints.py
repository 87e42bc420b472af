"""Fingerprints of arrays, by which a checkpoint is known to be read as it was written.

Files can be damaged without becoming unreadable: a bit flipped on disk is another number in an
array. Neither Orbax nor the formats that it writes check the values themselves.
"""

import json
import zlib
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, UInt32


def fingerprints(tree: PyTree) -> list[int]:
    """One number for each array of a tree, however it lies on devices; any changed bit changes it.

    Computed where the arrays are: a weighted sum of their 32-bit words, modulo 2**32, with odd
    weights that differ by position.
    """
    return [int(value) for value in jax.device_get(_weighted_sums(jax.tree.leaves(tree)))]


def document_fingerprint(document: Any) -> int:
    """The same for what is stored as JSON."""
    return zlib.crc32(json.dumps(document, sort_keys=True).encode())


@jax.jit
def _weighted_sums(arrays: list[Array]) -> list[UInt32[Array, ""]]:
    return [_weighted_sum(x) for x in arrays]


def _weighted_sum(x: Array) -> UInt32[Array, ""]:
    words = jax.lax.bitcast_convert_type(x, jnp.uint32)
    weights, stride = jnp.ones((), jnp.uint32), 2
    for axis in reversed(range(x.ndim)):
        # By axis, because flattening would gather an array that is spread over devices.
        positions = jax.lax.broadcasted_iota(jnp.uint32, x.shape, axis)
        weights = weights + positions * jnp.uint32(stride % 2**32)
        stride *= x.shape[axis]
    return jnp.sum(words * weights, dtype=jnp.uint32)
