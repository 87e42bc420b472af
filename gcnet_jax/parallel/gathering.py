"""Bytes of all processes, handed to each of them."""

import jax
import numpy as np
from jax.experimental import multihost_utils

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
    lengths = multihost_utils.process_allgather(np.array([len(own)], np.int32)).ravel()
    whole = -(-max(int(lengths.max()), 1) // _CHUNK) * _CHUNK
    padded = np.zeros(whole, np.uint8)
    padded[: len(own)] = np.frombuffer(own, np.uint8)
    chunks = [
        multihost_utils.process_allgather(padded[start : start + _CHUNK])
        for start in range(0, whole, _CHUNK)
    ]
    of_all = np.concatenate(chunks, axis=1)
    return [row[:length].tobytes() for row, length in zip(of_all, lengths, strict=True)]
