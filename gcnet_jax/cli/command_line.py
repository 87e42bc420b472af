"""A command line, read: options, a config and its overrides, and what is wrong with them."""

import collections
import re

from absl import flags

from gcnet_jax.config import brief_reason, leaves
from gcnet_jax.errors import InputError, did_you_mean
from gcnet_jax.tasks import schemas


def in_order(arguments: list[str]) -> list[str]:
    """The arguments with `--config` before its overrides, and the last of these for each key."""
    return _config_first(_last_overrides(arguments))


def parse(options: flags.FlagValues, argv: list[str]) -> list[str]:
    """Sets the options by a command line, and returns the program's name and what is left.

    Raises:
        InputError: it cannot be understood.
    """
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
