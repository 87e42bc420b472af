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
    """One number for each array of a tree, however it lies on devices.

    Any single changed word changes it, and other damage but for one case in 2**32. Computed where
    the arrays (of 32 bits) are: the sum, modulo 2**32, of hashes of each word with its position.
    """
    return [int(value) for value in jax.device_get(_sums(jax.tree.leaves(tree)))]


def document_fingerprint(document: Any) -> int:
    """The fingerprint of what is stored as JSON."""
    return zlib.crc32(json.dumps(document, sort_keys=True).encode())


@jax.jit
def _sums(arrays: list[Array]) -> list[UInt32[Array, ""]]:
    return [_sum_of_hashes(x) for x in arrays]


def _sum_of_hashes(x: Array) -> UInt32[Array, ""]:
    words = jax.lax.bitcast_convert_type(x, jnp.uint32)
    positions, stride = jnp.zeros((), jnp.uint32), 1
    for axis in reversed(range(x.ndim)):
        # By axis, because flattening would gather an array that is spread over devices.
        along = jax.lax.broadcasted_iota(jnp.uint32, x.shape, axis)
        positions = positions + along * jnp.uint32(stride % 2**32)
        stride *= x.shape[axis]
    return jnp.sum(_hash(words ^ _hash(positions)), dtype=jnp.uint32)


def _hash(words: UInt32[Array, "*shape"]) -> UInt32[Array, "*shape"]:
    """MurmurHash3's last step: it mixes the bits of each word, and no two words become one."""
    words = (words ^ (words >> 16)) * jnp.uint32(0x85EBCA6B)
    words = (words ^ (words >> 13)) * jnp.uint32(0xC2B2AE35)
    return words ^ (words >> 16)
