"""Memory of the host."""

import ctypes
import os
import sys

import jax

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Where JAX computes on CPUs, has glibc keep what is freed, unless the user told it otherwise.

    XLA frees the temporaries of a program and asks for them again in the next step, large blocks
    that glibc by itself would give back to the system, to get them anew page by page: a tenth of a
    training step.
    """
    if jax.default_backend() != "cpu":
        return
    if any(name == "GLIBC_TUNABLES" or name.startswith("MALLOC_") for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)
