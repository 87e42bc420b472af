"""Folders of runs on the command line: a run says its own config."""

import os
from collections.abc import Iterator, Sequence

from absl import flags

from gcnet_jax.errors import InputError
from gcnet_jax.files import as_path

CONFIG = "config.json"
"""Name of the file in which a run keeps its config."""


def is_run(path: str) -> bool:
    """Whether training has made a folder."""
    try:
        folder = as_path(path)
        return (folder / CONFIG).is_file() and (folder / "checkpoints").is_dir()
    except (InputError, OSError, ValueError):  # no path at all
        return False


def with_config_of_run(options: flags.FlagValues, arguments: Sequence[str]) -> list[str]:
    """Returns the arguments with what a run's folder among them means.

    The first positional argument that is a run is what `--workdir=RUN` is, where a command takes
    that and nobody has said which model; and a command that takes a config gets the run's own, if
    none is given.
    """
    given = list(arguments)
    if "workdir" not in options:
        return given
    names = {argument.partition("=")[0].lstrip("-") for argument in given if argument[:1] == "-"}
    if not names & {"workdir", "checkpoint"}:
        position = next((i for i in _positional(options, given) if is_run(given[i])), None)
        if position is not None:
            given[position] = f"--workdir={given[position]}"
    if "config" in options and "config" not in names and (run := _workdir(given)) and is_run(run):
        given.insert(0, f"--config={as_path(run) / CONFIG}")
    return given


def _positional(options: flags.FlagValues, arguments: Sequence[str]) -> Iterator[int]:
    """Yields where arguments are neither options nor the values of options."""
    is_value = False
    for position, argument in enumerate(arguments):
        name = argument.lstrip("-")
        if argument.startswith("-"):
            takes_value = name.startswith("config.") or (
                name in options and not options[name].boolean
            )
            is_value = "=" not in argument and takes_value
        elif is_value:
            is_value = False
        else:
            yield position


def refuse_positional(options: flags.FlagValues, arguments: Sequence[str]) -> None:
    """Raises InputError, with what was probably meant, if there are positional arguments."""
    if not arguments:
        return
    first = arguments[0]
    parent = as_path(first).parent
    if "workdir" in options and is_run(os.fspath(parent.parent)):
        raise InputError(
            f"{first} is no run; give the run {parent.parent} for its best checkpoint, or "
            f"--checkpoint={first}"
        )
    if "workdir" in options and options["workdir"].value is None:
        raise InputError(f"there is no run {first}: no folder with {CONFIG} and checkpoints")
    raise InputError(f"unexpected arguments: {' '.join(arguments)}; see --help")


def _workdir(arguments: Sequence[str]) -> str | None:
    for position, argument in enumerate(arguments):
        name, _, value = argument.partition("=")
        if name in ("--workdir", "-workdir"):
            return value or next(iter(arguments[position + 1 : position + 2]), None)
    return None
