"""What processes that make batches need, and what is said when one ends."""

import multiprocessing
import os
import re
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from gcnet_jax.data import shuffled_batches
from gcnet_jax.data.workers import check_shared_memory, why_ended
from gcnet_jax.errors import InputError

DOCKERS_DEFAULT = 64_000_000  # bytes


class Numbers:
    def __init__(self, sample_bytes):
        self.sample_bytes = sample_bytes

    def __call__(self, record, rng):
        return {"number": record}


def iterator_of(num_workers, batch_size=4, sample_bytes=8):
    return shuffled_batches(
        range(10),
        Numbers(sample_bytes),
        batch_size=batch_size,
        seed=0,
        num_workers=num_workers,
    )


@pytest.fixture
def small(monkeypatch):
    """A machine whose shared memory has the size that Docker gives it."""
    if not Path("/dev/shm").exists():
        pytest.skip("there is no /dev/shm")
    disk = SimpleNamespace(f_bavail=DOCKERS_DEFAULT // 4000, f_frsize=4000)
    monkeypatch.setattr(os, "statvfs", lambda path: disk)


@pytest.mark.usefixtures("small")
def test_too_little_shared_memory_is_named_with_what_to_do_before_a_worker_starts():
    iterator = iterator_of(num_workers=4, batch_size=8, sample_bytes=512 * 1024 * 4)
    before = multiprocessing.active_children()
    message = (
        r"4 data workers need 487 MB of shared memory for 29 batches, and /dev/shm has 64 MB free; "
        r"make it larger \(docker run --shm-size=1g\), .*--config\.data\.num_workers=0"
    )
    with pytest.raises(InputError, match=message):
        iterator.start_prefetch()
    assert multiprocessing.active_children() == before


@pytest.mark.usefixtures("small")
def test_what_fits_into_shared_memory_is_allowed():
    check_shared_memory(2, DOCKERS_DEFAULT // 17)
    check_shared_memory(0, 100 * DOCKERS_DEFAULT)
    with pytest.raises(InputError, match="2 data workers need 68 MB"):
        check_shared_memory(2, DOCKERS_DEFAULT // 16)


@pytest.mark.skipif(not Path("/proc").exists(), reason="there is no /proc to look into")
def test_workers_start_ahead_and_never_see_the_signals_that_ask_a_run_to_stop():
    """Those go to all processes of a terminal or a job; each worker would print a traceback."""
    iterator = iterator_of(num_workers=2)
    before = set(multiprocessing.active_children())
    iterator.start_prefetch()
    workers, deadline = set(), time.monotonic() + 30
    while len(workers) < 2 and time.monotonic() < deadline:
        workers = set(multiprocessing.active_children()) - before
    assert len(workers) == 2  # and no batch was asked for
    asking = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)
    for number in asking:
        for worker in workers:
            assert worker.pid is not None
            os.kill(worker.pid, number)
    assert len([next(iterator) for _ in range(4)]) == 4
    assert not set(asking) & signal.pthread_sigmask(signal.SIG_BLOCK, ())
    iterator.close()
    assert not any(worker.is_alive() for worker in workers)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (-signal.SIGBUS, r"SIGBUS.*: /dev/shm, which has \d+ MB free, was full; make it larger"),
        (-signal.SIGKILL, r"with exit code -9, perhaps for lack of memory; run the same command"),
        (None, r"a data worker has ended, perhaps for lack of memory"),
    ],
)
def test_the_end_of_a_worker_is_explained(code, says):
    assert re.search(says, why_ended(code))
