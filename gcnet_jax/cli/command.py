"""What every command does around its work: flags, help, errors, caches."""

import ctypes
import gc
import logging as python_logging
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
from absl import flags, logging
from etils import epath
from ml_collections import ConfigDict, config_flags

from gcnet_jax.config import (
    brief_reason,
    cache_folder,
    check_config,
    describe_defaults,
    make_common_configs_importable,
)
from gcnet_jax.errors import InputError, Preempted, printable
from gcnet_jax.files import as_path
from gcnet_jax.parallel import is_loss_of_partner, join_processes

PREEMPTED = 75
"""Exit status after a stop that a later start goes on from (`EX_TEMPFAIL` of sysexits.h)."""
_IMPORTED = time.monotonic()
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def define_config_flag() -> flags.FlagHolder:
    """Defines `--config=FILE[:args]` with its overrides `--config.key=value`."""
    return config_flags.DEFINE_config_file(
        "config", None, "file of the run's config; override any leaf with --config.key=value"
    )


class CheckpointFlags(NamedTuple):
    """The flags that choose a trained model."""

    workdir: flags.FlagHolder
    checkpoint: flags.FlagHolder
    allow_partial: flags.FlagHolder

    def values(self) -> dict[str, Any]:
        """What was given, as keyword arguments for `load_trained_model`."""
        return {name: flag.value for name, flag in self._asdict().items()}


def define_checkpoint_flags() -> CheckpointFlags:
    """Defines `--workdir`, `--checkpoint` and `--allow_partial`."""
    return CheckpointFlags(
        flags.DEFINE_string("workdir", None, "folder of a run; its best checkpoint is taken"),
        flags.DEFINE_string(
            "checkpoint",
            None,
            "instead: folder of one checkpoint; or a .pth file of OpenMMLab (needs PyTorch); or "
            "'published', the published weights of the config's run",
        ),
        define_allow_partial_flag(),
    )


def define_allow_partial_flag() -> flags.FlagHolder:
    """Defines `--allow_partial`."""
    return flags.DEFINE_bool(
        "allow_partial", False, "take what fits of a .pth file of another model"
    )


class ProcessFlags(NamedTuple):
    """The flags that say which process of a job this is."""

    coordinator_address: flags.FlagHolder
    num_processes: flags.FlagHolder
    process_id: flags.FlagHolder

    def join(self, *, listens: bool = False) -> None:
        """Joins the other processes, see `join_processes`."""
        given = {name: flag.value for name, flag in self._asdict().items()}
        join_processes(**given, listens=listens)


def define_process_flags() -> ProcessFlags:
    """Defines `--coordinator_address`, `--num_processes` and `--process_id`."""
    return ProcessFlags(
        flags.DEFINE_string(
            "coordinator_address",
            None,
            "HOST:PORT of the first process, where the cluster (Cloud TPU, GKE, SLURM, Open MPI) "
            "does not tell",
        ),
        flags.DEFINE_integer("num_processes", None, "of the job, then", lower_bound=1),
        flags.DEFINE_integer("process_id", None, "of this process, from 0, then", lower_bound=0),
    )


def checked_config(flag: flags.FlagHolder) -> ConfigDict:
    """The config given on the command line, with exactly the keys there are."""
    if flag.value is None:
        raise InputError(
            "--config=FILE is required, for example --config=configs/context_shapes/gcnet.py"
        )
    check_config(flag.value)
    return flag.value


def required(value: str | None, flag: str) -> str:
    """The value of a flag that must be given."""
    if value is None:
        raise InputError(f"{flag} is required; see --help")
    return value


def output_folder(value: str | None, flag: str) -> epath.Path:
    """The folder that a flag names, made if it is not there: it fails before the work, not after.

    Raises:
        InputError: no folder is given, or it is a file.
    """
    folder = as_path(required(value, flag))
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{flag}: {folder} is a file; expected a folder")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def refuse(arguments: list[str]) -> None:
    """Raises InputError if there are positional arguments, for commands that take none."""
    if arguments:
        raise InputError(f"unexpected arguments: {' '.join(arguments)}; see --help")


def run(main: Callable[[list[str]], None], module: str) -> None:
    """Parses the command line and runs `main` on what is left of it.

    What the user can put right ends in one line on stderr: exit status 2 for the command line, 1
    for everything else, the loss of another process of the job too. 130 follows Ctrl-C, and
    `PREEMPTED` a stop on SIGTERM with all work saved.
    `--help` shows the module's docstring and its flags.
    """
    if {"--help", "-h", "-help"} & set(sys.argv[1:]):
        print(_help(module))
        sys.exit(0)
    logging.use_absl_handler()
    logging.set_verbosity(logging.WARNING)
    logging.get_absl_handler().setFormatter(PrintableLines("%(levelname)s: %(message)s"))
    sys.argv = _config_first(sys.argv)  # where ml_collections looks for them as well
    try:
        arguments = _parse(sys.argv)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    _enable_compilation_cache()
    _silence_resource_tracker()
    sys.unraisablehook = _report_unraisable
    threading.excepthook = _report_thread
    logging.get_absl_handler().addFilter(_is_not_failure_of_orbax)
    warnings.filterwarnings("ignore", "coroutine '_read_array.*' was never awaited", RuntimeWarning)
    python_logging.getLogger("asyncio").addFilter(_is_not_of_orbax)
    try:
        status = _status(main, arguments[1:])
    except Exception:
        if not jax.distributed.is_initialized():
            raise
        traceback.print_exc()
        status = 1
    gc.collect()  # what a failed restore left behind is closed here, while the hook listens
    if status not in (0, PREEMPTED):
        # What else ends with a process has nothing to add, and JAX would wait minutes for the other
        # processes, which wait for this one.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    if status:
        sys.exit(status)


def _status(main: Callable[[list[str]], None], arguments: list[str]) -> int:
    try:
        main(arguments)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except Preempted as notice:
        print(f"preempted: {notice}", file=sys.stderr)
        return PREEMPTED
    except OSError as error:  # a path that cannot be read or written, a full disk
        if error.strerror is None:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(printable(f"error: {where}{error.strerror}"), file=sys.stderr)
        return 1
    except jax.errors.JaxRuntimeError as error:
        if not is_loss_of_partner(error):
            raise
        print(
            "error: the other processes of the job have ended or cannot be reached "
            f"({brief_reason(error)[:200]}); start all of them again to go on",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


def _parse(argv: list[str]) -> list[str]:
    flags.FLAGS.set_gnu_getopt(True)  # flags may follow positional arguments
    config_file = _config_file(argv)
    if config_file is not None:
        if not config_file.is_file():
            raise InputError(f"--config: there is no file {config_file}")
        make_common_configs_importable(config_file)
    try:
        return flags.FLAGS(argv)
    except InputError:
        raise
    except flags.Error as error:
        raise InputError(_flag_reason(error)) from error
    except Exception as error:  # a config is code: anything can go wrong in it
        kind = "" if isinstance(error, AttributeError | KeyError) else f"{type(error).__name__}: "
        raise InputError(f"{config_file}: {kind}{brief_reason(error)}") from error


def _flag_reason(error: flags.Error) -> str:
    """What is wrong with a flag, on one line.

    Where a config's file raised something, ml_collections puts the whole traceback into the
    message; its last line says what it was.
    """
    message = str(error)
    flag, separator, _ = message.partition("Error whilst parsing config file:")
    if separator:
        last = message.strip().splitlines()[-1].strip()
        message = f"{flag}{last.removeprefix(f'{InputError.__module__}.InputError: ')}"
    return " ".join(message.split())


def _config_file(argv: list[str]) -> Path | None:
    """The file of `--config=FILE[:args]`, before absl sees the flag."""
    for position, argument in enumerate(argv):
        name, _, value = argument.partition("=")
        if name in ("--config", "-config"):
            value = value or " ".join(argv[position + 1 : position + 2])
            return Path(value.split(":")[0])
    return None


def _config_first(argv: list[str]) -> list[str]:
    """The command line with `--config` before what overrides it, wherever the user has put it."""
    for position, argument in enumerate(argv):
        end = position + (1 if "=" in argument else 2)
        if argument.partition("=")[0] in ("--config", "-config"):
            return [argv[0], *argv[position:end], *argv[1:position], *argv[end:]]
    return argv


class PrintableLines(python_logging.Formatter):
    """One line a message, whatever of a file's it quotes; a traceback behind it keeps its lines."""

    def formatMessage(self, record: python_logging.LogRecord) -> str:
        """The line without the traceback."""
        return printable(super().formatMessage(record))


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


def started() -> float:
    """When the operating system started this process, on the clock of `time.monotonic`.

    Where it does not say, when this module was imported.
    """
    stat = Path("/proc/self/stat")
    if not stat.exists():
        return _IMPORTED
    ticks = int(stat.read_text().rpartition(")")[2].split()[19])  # since the machine was started
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.monotonic() - age


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


def _enable_compilation_cache() -> None:
    """Keeps compiled programs between runs, unless the user has chosen where and which already.

    All of them: to build a network takes hundreds of small ones, which JAX would not keep.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder("compiled")))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _silence_resource_tracker() -> None:
    """Of Python's, which frees the shared memory of batches that a stop leaves ready, and warns."""
    filters = [os.environ.get("PYTHONWARNINGS"), "ignore:resource_tracker:UserWarning"]
    os.environ["PYTHONWARNINGS"] = ",".join(x for x in filters if x)  # it is a process of its own


def _help(module: str) -> str:
    lines = [(sys.modules[module].__doc__ or "").strip(), "", "Flags:"]
    shared = flags.FLAGS.get_flags_for_module(__name__)  # --config, of the commands that take it
    for flag in [*shared, *flags.FLAGS.get_flags_for_module(module)]:
        default = f" (default: {flag.default})" if flag.default is not None else ""
        lines.append(f"  --{flag.name}: {flag.help}{default}")
    if shared:
        lines += ["", "Keys of a config, with their defaults (gcnet_jax/config.py says more):"]
        lines += [f"  --config.{line}" for line in describe_defaults()]
    return "\n".join(lines)
