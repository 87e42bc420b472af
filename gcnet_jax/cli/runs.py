"""Folders of runs on the command line: a run says its own config."""

from collections.abc import Sequence

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
        runs = [a for a in given if not a.startswith("-") and is_run(a)]
        if runs:
            given[given.index(runs[0])] = f"--workdir={runs[0]}"
    if "config" in options and "config" not in names and (run := _workdir(given)) and is_run(run):
        given.insert(0, f"--config={as_path(run) / CONFIG}")
    return given


def _workdir(arguments: Sequence[str]) -> str | None:
    for position, argument in enumerate(arguments):
        name, _, value = argument.partition("=")
        if name in ("--workdir", "-workdir"):
            return value or next(iter(arguments[position + 1 : position + 2]), None)
    return None
