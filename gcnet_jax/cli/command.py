"""Runs a command: parses its command line, does its work, and makes a status of what happened.

JAX and what is built on it take seconds to import. So that `--help` and a wrong command line are
answered at once, the module of a command imports what it works with inside its work function, and
at its top only what its options need; so do the modules here that all commands share.
"""

import collections
import contextlib
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from absl import flags

from gcnet_jax.cli.completion import is_asked, offer
from gcnet_jax.cli.runs import with_model_named
from gcnet_jax.cli.standard_output import has_no_reader, show
from gcnet_jax.config import brief_reason, leaves
from gcnet_jax.errors import (
    InputError,
    Interrupted,
    Preempted,
    UsageError,
    did_you_mean,
    printable,
)
from gcnet_jax.tasks import schemas

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
        The exit status: 2 for a command line that lacks something, contradicts itself or cannot be
        understood, 1 for everything else that went wrong, values of a config that do not fit
        together and the loss of another process of the job too. 130 follows Ctrl-C, and `PREEMPTED`
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
        show(_help(module, options))
        return 0
    if "config" in options and "--help_config" in arguments:
        show(_help_config())
        return 0
    try:
        arguments = _config_first(_last_overrides(with_model_named(options, arguments)))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    with _command_line([sys.argv[0], *arguments]) as argv:
        try:
            positional = _parse(options, argv)[1:]
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


def _parse(options: flags.FlagValues, argv: list[str]) -> list[str]:
    _forget(options)
    options.set_gnu_getopt(True)  # options may follow positional arguments
    if "config" in options:
        _check_keys(argv)
    try:
        positional = options(argv)
        _refuse_joined(options, argv)
        return positional
    except InputError:
        raise
    except flags.Error as error:
        if isinstance(error.__context__, InputError):  # of the config, from within a flag's parser
            raise error.__context__ from error
        raise InputError(" ".join(str(error).split())) from error
    except Exception as error:  # several, of ml_collections for overrides
        kind = "" if isinstance(error, AttributeError | KeyError) else f"{type(error).__name__}: "
        raise InputError(f"--config: {kind}{brief_reason(error)}") from error


def _check_keys(argv: list[str]) -> None:
    """Raises InputError if an override names a key that no config has."""
    keys = {key for schema in schemas().values() for key, _ in leaves(schema.section)}
    for argument in argv[1:]:
        option = argument.partition("=")[0]
        match = re.fullmatch(r"--?(?:no)?config\.(.*)", option)
        if match and match[1] not in keys:
            raise InputError(f"{option}: a config has no such key{did_you_mean(match[1], keys)}")


def _refuse_joined(options: flags.FlagValues, argv: list[str]) -> None:
    """Raises InputError where ml_collections has joined tuples that were given one by one."""
    given = collections.Counter(argument.partition("=")[0].lstrip("-") for argument in argv)
    for name in options:
        joins = name.startswith("config.") and isinstance(options[name], flags.MultiFlag)
        if joins and given[name] > 1:
            raise InputError(f"--{name} is given {given[name]} times; expected once")


def _forget(options: flags.FlagValues) -> None:
    """Undoes what an earlier command line of this process has set, overrides of a config too."""
    for name in list(options):
        if name.startswith("config."):
            delattr(options, name)
    options.unparse_flags()


def _last_overrides(arguments: list[str]) -> list[str]:
    """The arguments with only the last `--config.key=value` of each key.

    Of most keys the last counts anyway; tuples that are given twice ml_collections would join.
    """
    kept, seen = [], set()
    for argument in reversed(arguments):
        key, separator, _ = argument.partition("=")
        if separator and key.startswith("--config."):
            if key in seen:
                continue
            seen.add(key)
        kept.append(argument)
    return kept[::-1]


def _config_first(arguments: list[str]) -> list[str]:
    """The arguments with `--config` before what overrides it, wherever the user has put it."""
    for position, argument in enumerate(arguments):
        end = position + (1 if "=" in argument else 2)
        if argument.partition("=")[0] in ("--config", "-config"):
            return [*arguments[position:end], *arguments[:position], *arguments[end:]]
    return arguments


def _help(module: str, options: flags.FlagValues) -> str:
    lines = [(sys.modules[module].__doc__ or "").strip(), "", "Flags:"]
    for name in options:
        default = (
            f" (default: {options[name].default})" if options[name].default is not None else ""
        )
        lines.append(f"  --{name}: {options[name].help}{default}")
    if "config" in options:
        lines.append("  --help_config: shows the keys of a config with their defaults, and ends")
    return "\n".join(lines)


def _help_config() -> str:
    lines = ["Keys of a config, with their defaults; --config.KEY=VALUE changes one."]
    for task, schema in schemas().items():
        lines += ["", f"Of {task}:", ""]
        for key, leaf in leaves(schema.section):
            lines += [f"  {key} = {leaf.default!r}", f"      {leaf.about} ({leaf.range})"]
    return "\n".join(lines)
