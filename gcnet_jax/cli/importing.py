"""Imports that take seconds, which a terminal is told of, and that Ctrl-C may end at any moment."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator

_NOTE = "starting ..."


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Says on a terminal that it is starting, and lets Ctrl-C just end the process.

    What a command works with is imported in this context. As an exception Ctrl-C would come out of
    the middle of some library, and show as a traceback or as another error. Where it means anything
    else than that exception, it keeps its meaning.
    """
    shows = sys.stderr is not None and sys.stderr.isatty()
    with contextlib.ExitStack() as stack:
        if shows:
            print(_NOTE, end="\r", file=sys.stderr, flush=True)
            stack.callback(print, " " * len(_NOTE), end="\r", file=sys.stderr, flush=True)
        alone = threading.current_thread() is threading.main_thread()
        if alone and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            stack.callback(signal.signal, signal.SIGINT, signal.default_int_handler)
        yield
