"""One process at a time where files are written over minutes."""

import contextlib
import fcntl
import os
from collections.abc import Iterator

from etils import epath
from rich.console import Console

from gcnet_jax.errors import InputError


@contextlib.contextmanager
def only_process(folder: epath.Path, console: Console) -> Iterator[None]:
    """Holds a folder for this process alone, until the context or the process ends.

    Args:
        folder: the folder to write in, on a local or mounted file system.
        console: for a word where the file system has no locks.

    Raises:
        InputError: another process is writing.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"another process is writing {folder}; wait until it has ended"
            ) from error
        except OSError as error:  # some file systems of clusters have no locks
            console.print(f"{folder} cannot be locked ({error}): let no other process write it")
        yield
    finally:
        os.close(descriptor)
