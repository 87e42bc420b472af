"""Imports that take seconds, and that Ctrl-C may end at any moment."""

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Lets Ctrl-C just end the process while what a command works with is imported.

    As an exception it would come out of the middle of some library, and show as a traceback or as
    another error. Where Ctrl-C means anything else than that exception, it keeps its meaning.
    """
    alone = threading.current_thread() is threading.main_thread()
    if not alone or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
