"""Bytes of all processes, handed to each of them."""

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Int32

_CHUNK = 2**20
"""Bytes of each process that are under way at a time: every device holds those of all."""


def gather_bytes(own: bytes) -> list[bytes]:
    """Returns what each process of the job has called this with, in the order of the processes.

    All call it together. What they have may be of any length.

    Args:
        own: of this process.
    """
    if jax.process_count() == 1:
        return [own]
    # Two numbers: devices have integers of 32 bits, which end at 2 GiB.
    lengths = [
        chunks * _CHUNK + rest
        for chunks, rest in multihost_utils.process_allgather(_length(own)).tolist()
    ]
    whole = -(-max(*lengths, 1) // _CHUNK) * _CHUNK
    padded = np.zeros(whole, np.uint8)
    padded[: len(own)] = np.frombuffer(own, np.uint8)
    chunks = [
        multihost_utils.process_allgather(padded[start : start + _CHUNK])
        for start in range(0, whole, _CHUNK)
    ]
    of_all = np.concatenate(chunks, axis=1)
    return [row[:length].tobytes() for row, length in zip(of_all, lengths, strict=True)]


def _length(own: bytes) -> Int32[np.ndarray, "2"]:
    """Returns whole chunks, and the bytes of another."""
    return np.array(divmod(len(own), _CHUNK), np.int32)
