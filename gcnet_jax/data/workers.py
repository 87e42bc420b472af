"""Processes that make batches: how they are started, what they need, and why one has ended."""

import contextlib
import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker
from pathlib import Path

import cv2

from gcnet_jax.errors import InputError

BUFFERED_BATCHES = 2
"""Batches that wait in the queue of each worker."""

_SHARED_MEMORY = Path("/dev/shm")  # where Linux keeps it; other systems have no such limit
_BATCHES_IN_USE = 5  # by the steps that may be under way at once
_MB = 1e6


def check_shared_memory(workers: int, batch_bytes: int) -> None:
    """Raises InputError if the batches that workers make ready do not fit into shared memory.

    A worker that finds it full is ended by the system, by SIGBUS, without a word.

    Args:
        workers: processes that make batches; none needs none.
        batch_bytes: size of one batch, in bytes.
    """
    if not workers or not _SHARED_MEMORY.exists():
        return
    # Each worker's queue, as many again beside it, the one being made and the one being taken.
    batches = workers * (2 * BUFFERED_BATCHES + 2) + _BATCHES_IN_USE
    needed, free = batches * batch_bytes, _free_bytes()
    if needed > free:
        raise InputError(
            f"{workers} data workers need {needed / _MB:.0f} MB of shared memory for {batches} "
            f"batches, and {_SHARED_MEMORY} has {free / _MB:.0f} MB free; {_remedy(needed)}"
        )


def why_ended(exit_code: int | None) -> str:
    """Returns what to say of a worker that has ended, with what can be done.

    Args:
        exit_code: of its process, the negative number of a signal; None if it is not known.
    """
    if exit_code == -signal.SIGBUS:
        free = _free_bytes() / _MB if _SHARED_MEMORY.exists() else 0
        return (
            f"a data worker has ended (SIGBUS): {_SHARED_MEMORY}, which has {free:.0f} MB free, "
            f"was full; {_remedy()}"
        )
    why = "" if exit_code is None else f" with exit code {exit_code}"
    return (
        f"a data worker has ended{why}, perhaps for lack of memory; run the same command to go on, "
        "if need be with fewer --config.data.num_workers"
    )


def exit_code(reason: str) -> int | None:
    """Returns the exit code of a worker in what Grain says of its end; None if there is none."""
    found = re.search(r"exit code (-?\d+)", reason)
    return int(found[1]) if found else None


def _remedy(needed_bytes: float = 0) -> str:
    gigabytes = max(1, -(-int(2 * needed_bytes) // 10**9))
    return (
        f"make it larger (docker run --shm-size={gigabytes}g), or use threads in place of workers: "
        "--config.data.num_workers=0"
    )


def _free_bytes() -> int:
    disk = os.statvfs(_SHARED_MEMORY)
    return disk.f_bavail * disk.f_frsize


@contextlib.contextmanager
def signals_kept_from_children() -> Iterator[None]:
    """Keeps the signals that ask a run to stop from processes that are started in this context.

    Signals from a scheduler or a terminal go to all processes of a job; the one that trains says
    when to stop. A worker that ignored them by itself could only do so after seconds of imports.
    """
    asking = {signal.SIGINT, signal.SIGHUP, signal.SIGTERM}
    resource_tracker.ensure_running()  # whose start would let them through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, asking)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def initialise_worker(worker_index: int, worker_count: int) -> None:
    """Sets a worker up; Grain calls it there first."""
    del worker_index, worker_count
    cv2.setNumThreads(0)  # each worker is to keep one core busy, not each of them all cores
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends a worker with its parent: Grain's would wait forever for one that was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
