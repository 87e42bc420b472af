"""What a process does that runs one command: caches, memory, what it leaves unsaid, how it ends."""

import gc
import io
import logging as python_logging
import os
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

from absl import flags, logging

from gcnet_jax.cli.command import PREEMPTED
from gcnet_jax.config import enable_compilation_cache
from gcnet_jax.errors import printable

_IMPORTED = time.monotonic()
_alone = False  # whether a command is all that this process does


def run_alone(main: Callable[[], int]) -> None:
    """Runs a command and ends this process with the status that it returns."""
    global _alone
    _alone = True
    flags.FLAGS.mark_as_parsed()  # absl's own, which its log asks about; commands have theirs
    logging.use_absl_handler()
    logging.set_verbosity(logging.WARNING)
    logging.get_absl_handler().setFormatter(PrintableLines("%(levelname)s: %(message)s"))
    enable_compilation_cache()
    _silence_resource_tracker()
    sys.unraisablehook = _report_unraisable
    threading.excepthook = _report_thread
    logging.get_absl_handler().addFilter(_is_not_failure_of_orbax)
    warnings.filterwarnings("ignore", "coroutine '_read_array.*' was never awaited", RuntimeWarning)
    python_logging.getLogger("asyncio").addFilter(_is_not_of_orbax)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8
    status = main()
    gc.collect()  # what a failed restore left behind is closed here, while the hook listens
    if status not in (0, PREEMPTED):
        # What else ends with a process has nothing to add, and JAX would wait minutes for the other
        # processes, which wait for this one.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


class PrintableLines(python_logging.Formatter):
    """One line a message, whatever of a file's it quotes; a traceback behind it keeps its lines."""

    def formatMessage(self, record: python_logging.LogRecord) -> str:
        """Formats the line, without the traceback."""
        return printable(super().formatMessage(record))


def started() -> float:
    """When the command was started, on the clock of `time.monotonic`.

    That is when the operating system started this process, or this module was imported where that
    does not say; or now, if the process does other things than this command.
    """
    if not _alone:
        return time.monotonic()
    stat = Path("/proc/self/stat")
    if not stat.exists():
        return _IMPORTED
    ticks = int(stat.read_text().rpartition(")")[2].split()[19])  # since the machine was started
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.monotonic() - age


def _silence_resource_tracker() -> None:
    """Silences Python's tracker, which frees shared memory that a stop leaves in use, and warns."""
    filters = [os.environ.get("PYTHONWARNINGS"), "ignore:resource_tracker:UserWarning"]
    os.environ["PYTHONWARNINGS"] = ",".join(x for x in filters if x)  # it is a process of its own


def _report_unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    """Leaves out what Orbax's unfinished reads say after a damaged checkpoint has ended a restore.

    Orbax closes its event loop at the first bad array; each read still under way then raises where
    nobody can catch it. The damage itself has been reported by then.
    """
    code = getattr(unraisable.object, "cr_code", None)  # of a coroutine
    of_orbax = code is not None and "orbax" in Path(code.co_filename).parts
    if not of_orbax and str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def _report_thread(arguments: threading.ExceptHookArgs) -> None:
    """Says in a line that a thread could not write, which the work will notice by itself."""
    if isinstance(arguments.exc_value, OSError):
        logging.warning("A thread that writes has ended (%s).", arguments.exc_value)
    else:
        threading.__excepthook__(arguments)


def _is_not_failure_of_orbax(record: python_logging.LogRecord) -> bool:
    """Leaves out the tracebacks of failed saves, which Orbax logs before it raises them."""
    of_orbax = "orbax" in Path(record.pathname).parts
    return not (of_orbax and record.levelno >= python_logging.ERROR)


def _is_not_of_orbax(record: python_logging.LogRecord) -> bool:
    """Leaves out of asyncio's log, for the same reason, that nobody waited for reads or writes."""
    message = record.getMessage()
    unawaited = "exception was never retrieved" in message or "it is pending" in message
    raised_by = traceback.extract_tb(record.exc_info[2]) if record.exc_info else []
    files = [message, *(frame.filename for frame in raised_by)]
    return not (unawaited and any("orbax" in file for file in files))
