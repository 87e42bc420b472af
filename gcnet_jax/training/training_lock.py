"""One training at a time in a workdir."""

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator

from absl import logging
from etils import epath

from gcnet_jax.errors import InputError
from gcnet_jax.files import in_bucket

_LOCK = "training.lock"
_LONGEST_NAME = 200  # bytes of a holder's name that are shown


@contextlib.contextmanager
def only_training(workdir: epath.Path) -> Iterator[None]:
    """Keeps every other training out of a workdir for as long as this context lasts.

    A file there is locked, and says who has locked it. When the process ends, even by SIGKILL, the
    system takes the lock back. Buckets have no locks: nothing is done there.

    Args:
        workdir: made if it is not there. Of several processes of a job only one takes the lock.

    Raises:
        InputError: another training has it, or the workdir cannot be written.
    """
    if in_bucket(workdir):
        yield
        return
    if workdir.exists() and not workdir.is_dir():
        raise InputError(f"workdir {workdir} is a file; expected a folder")
    with contextlib.ExitStack() as until_the_end:
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(workdir / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
            until_the_end.callback(os.close, descriptor)
            _lock(descriptor, workdir)
            os.ftruncate(descriptor, 0)
            since = time.strftime("%Y-%m-%d %H:%M:%S %z")
            holder = f"process {os.getpid()} on {socket.gethostname()} since {since}"
            os.pwrite(descriptor, holder.encode(), 0)
        except OSError as error:
            raise InputError(f"workdir {workdir} cannot be written ({error.strerror})") from error
        yield


def _lock(descriptor: int, workdir: epath.Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(
            f"another training is under way in {workdir}, by {_holder(descriptor)}; wait until it "
            "has ended, or use another workdir"
        ) from error
    except OSError as error:  # some file systems of clusters have no locks
        logging.warning(
            "%s cannot be locked (%s): let no other training use it.", workdir, error.strerror
        )


def _holder(descriptor: int) -> str:
    name = os.pread(descriptor, _LONGEST_NAME, 0).decode(errors="replace")
    return name or "a process that has just begun"
