"""Runs a command: parses its command line, does its work, and makes a status of what happened.

JAX and what is built on it take seconds to import. So that `--help` and a wrong command line are
answered at once, the module of a command imports what it works with inside its work function, and
at its top only what its options need; so do the modules here that all commands share.
"""

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from absl import flags

from gcnet_jax.cli.command_line import in_order, parse
from gcnet_jax.cli.completion import is_asked, offer
from gcnet_jax.cli.help_texts import help_of, help_of_config
from gcnet_jax.cli.runs import with_model_named
from gcnet_jax.cli.standard_output import has_no_reader, show
from gcnet_jax.config import brief_reason
from gcnet_jax.errors import (
    InputError,
    Interrupted,
    Preempted,
    UsageError,
    printable,
)

PREEMPTED = 75
"""Exit status after a stop that a later start goes on from (`EX_TEMPFAIL` of sysexits.h)."""


def run(
    work: Callable[[list[str]], None],
    module: str,
    options: flags.FlagValues,
    arguments: Sequence[str] | None = None,
) -> int:
    """Parses a command line and does the command's work with what is left of it.

    What the user can put right ends in one line on stderr. `--help` shows the module's docstring
    and its options, `--help_config` the keys of a config. A shell that asks how the command line
    can go on is told.

    Args:
        work: called with the positional arguments.
        module: name of the command's module.
        options: of this command.
        arguments: of the command line, without the program's name; by default this process's.

    Returns:
        The exit status: 2 for a command line that must be changed, for it lacks something,
        contradicts itself, cannot be understood, or names a network, a config or a folder of
        results that is none; 1 for everything else that went wrong, data, images and checkpoints
        that cannot be read, values of a config that do not fit together and the loss of another
        process of the job too. 130 follows Ctrl-C, and `PREEMPTED`
        a stop on SIGTERM or Ctrl-C with all work saved; a reader that goes away before the end
        leaves 141.
    """
    if is_asked():
        offer({module.rpartition(".")[2]: ""}, options)
    try:
        return _run(work, module, options, sys.argv[1:] if arguments is None else list(arguments))
    except KeyboardInterrupt:  # while the command line is read, too, for which a config is run
        _say("interrupted")
        return 128 + signal.SIGINT


def _run(
    work: Callable[[list[str]], None],
    module: str,
    options: flags.FlagValues,
    arguments: list[str],
) -> int:
    if {"--help", "-h", "-help"} & set(arguments):
        show(help_of(module, options))
        return 0
    if "config" in options and "--help_config" in arguments:
        show(help_of_config())
        return 0
    try:
        arguments = in_order(with_model_named(options, arguments))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    with _command_line([sys.argv[0], *arguments]) as argv:
        try:
            positional = parse(options, argv)[1:]
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        try:
            return _status(work, positional)
        except Exception:
            if not _is_one_of_several():
                raise
            traceback.print_exc()
            return 1


@contextlib.contextmanager
def _command_line(argv: list[str]) -> Iterator[list[str]]:
    """Makes `argv` this process's command line, where ml_collections looks for overrides."""
    before, sys.argv = sys.argv, argv
    try:
        yield argv
    finally:
        sys.argv = before


def _status(main: Callable[[list[str]], None], arguments: list[str]) -> int:
    try:
        main(arguments)
    except InputError as error:
        _say(f"error: {error}")
        return 2 if isinstance(error, UsageError) else 1
    except Preempted as notice:
        kind = "interrupted" if isinstance(notice, Interrupted) else "preempted"
        _say(f"{kind}: {notice}")
        return PREEMPTED
    except OSError as error:  # a path that cannot be read or written, a full disk
        if isinstance(error, BrokenPipeError) and has_no_reader():
            return 128 + signal.SIGPIPE
        if error.strerror is None:
            raise
        where = f"{error.filename}: " if error.filename else ""
        _say(printable(f"error: {where}{error.strerror}"))
        return 1
    except (AssertionError, RuntimeError) as error:
        reason = _missing_platform(error) or _lost_partner(error)
        if not reason:
            raise
        _say(f"error: {reason}")
        return 1
    return 0


def _say(line: str) -> None:
    """Writes to stderr if anybody still reads it: the status is the same without."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr)


def _missing_platform(error: BaseException) -> str | None:
    """Says which kind of device JAX was told to use and cannot, if that is what went wrong."""
    raised_by = traceback.extract_tb(error.__traceback__)[-1].filename
    if Path(raised_by).name != "xla_bridge.py":  # where JAX starts its platforms
        return None
    reason = brief_reason(error) if str(error) else "what it needs is not installed or not found"
    return (
        f"JAX cannot use the devices that JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS')} asks for "
        f"({reason}); unset it, or install JAX for those devices"
    )


def _lost_partner(error: BaseException) -> str | None:
    """Says that another process of the job is gone, if that is what went wrong."""
    import jax

    from gcnet_jax.parallel import is_loss_of_partner

    if not (isinstance(error, jax.errors.JaxRuntimeError) and is_loss_of_partner(error)):
        return None
    return (
        "the other processes of the job have ended or cannot be reached "
        f"({brief_reason(error)[:200]}); start all of them again to go on"
    )


def _is_one_of_several() -> bool:
    import jax

    return jax.distributed.is_initialized()
