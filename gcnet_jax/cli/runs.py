"""Trained networks on the command line: what names one, and the config that it brings along."""

import os
from collections.abc import Iterator, Sequence

from absl import flags
from etils import epath

from gcnet_jax.cli.importing import importing
from gcnet_jax.config import (
    config_of_published,
    configs_named,
    is_checkpoint,
    published_runs,
)
from gcnet_jax.errors import InputError, UsageError, did_you_mean
from gcnet_jax.files import as_path, read_json
from gcnet_jax.tasks.configs import published_run

CONFIG = "config.json"
"""Name of the file in which a run keeps its config."""
_CHECKPOINTS = "checkpoints"
_PUBLISHED = "published"
_EXPECTED = "expected the folder of a run, one of its checkpoints, or the name of a published run"


def is_run(path: epath.PathLike) -> bool:
    """Whether training has made a folder, and begun to fill it."""
    try:
        folder = as_path(path)
        return (folder / CONFIG).is_file() and (folder / _CHECKPOINTS).is_dir()
    except (InputError, OSError, ValueError):  # no path at all
        return False


def with_model_named(options: flags.FlagValues, arguments: Sequence[str]) -> list[str]:
    """Returns the arguments with what a trained network among them means.

    The first positional argument that is a run is what `--workdir=RUN` is, where a command takes
    that and nobody has said which network; a checkpoint, a `.pth` file and the name of a published
    run are what `--checkpoint` is. A command that takes a config gets the network's own, if none is
    given: names mean what they mean to `gcnet_jax.load`.

    Raises:
        UsageError: it is the name of a config that nobody has published weights of, or the name of
            two networks.
        InputError: it is the published file of a backbone alone.
    """
    given = list(arguments)
    names = {argument.partition("=")[0].lstrip("-") for argument in given if argument[:1] == "-"}
    if "workdir" in options and not names & {"workdir", "checkpoint"}:
        for position in _positional(options, given):
            if option := _option_for(given[position], options):
                given[position] = option
                break
    if "config" in options and "config" not in names and (config := _own_config(given)):
        given.insert(0, f"--config={config}")
    return given


def config_options(arguments: Sequence[str]) -> list[str]:
    """What the arguments of a command line say of the config: `--config`, and what overrides it."""
    found: list[str] = []
    for position, argument in enumerate(arguments):
        name, separator, _ = argument.lstrip("-").partition("=")
        if argument.startswith("-") and (name == "config" or name.startswith("config.")):
            found += arguments[position : position + (1 if separator else 2)]
    return found


def require_model(options: flags.FlagValues, positional: Sequence[str]) -> None:
    """Raises UsageError, with what was probably meant, unless a trained network is named.

    Args:
        options: of the command, which takes `--config`, `--workdir` and `--checkpoint`.
        positional: its arguments that no option has taken.
    """
    workdir, checkpoint = options["workdir"].value, options["checkpoint"].value
    if workdir is not None and checkpoint is not None:
        raise UsageError(
            "give either --workdir=DIR of a run or --checkpoint=PATH of one checkpoint, not both"
        )
    if workdir is None and checkpoint is None:
        first = next((argument for argument in positional if argument != "-"), None)
        raise UsageError(
            _why_no_model(first) if first else f"no trained network is given; {_EXPECTED}"
        )
    has_config = options["config"].value is not None
    if workdir is not None and not has_config:
        raise UsageError(_why_no_run(workdir))
    if checkpoint is None:
        return
    if checkpoint not in (_PUBLISHED, *published_runs()):
        _refuse_all_checkpoints(checkpoint)
        _refuse_run(checkpoint)
    if not has_config:
        raise UsageError(_why_no_config(checkpoint))


def _option_for(argument: str, options: flags.FlagValues) -> str | None:
    """The option that a positional argument stands for, if it names a trained network."""
    if "checkpoint" in options and (run := published_run(argument)):
        return f"--checkpoint={run}"
    if _is_run(argument):
        return f"--workdir={argument}"
    if "checkpoint" not in options:
        return None
    try:
        path = as_path(argument)
        if _is_checkpoint(path) or (path.suffix == ".pth" and path.is_file()):
            return f"--checkpoint={argument}"
        if path.exists() or not configs_named(argument):
            return None
    except (InputError, OSError, ValueError):  # no path at all
        return None
    raise UsageError(
        f"the config {argument} has no published weights; train it, with gcnet train "
        f"--config={argument} --workdir=RUN, and give the run"
    )


def _own_config(arguments: Sequence[str]) -> str | None:
    """The config that belongs to the network which the options of a command line name."""
    if (workdir := _value("workdir", arguments)) and _is_run(workdir):
        folder = as_path(workdir)
        if (folder / CONFIG).is_file():
            return os.fspath(folder / CONFIG)
        return os.fspath(max(_checkpoints(folder), key=lambda path: int(path.name)))
    checkpoint = _value("checkpoint", arguments) or _value("source", arguments)
    if checkpoint and (configs_named(checkpoint) or _is_checkpoint(checkpoint)):
        return checkpoint
    if checkpoint and _is_file(checkpoint):
        with importing():
            from gcnet_jax.interop import published_name
        if run := published_name(as_path(checkpoint)):
            return config_of_published(run)
    return None


def _is_run(path: epath.PathLike) -> bool:
    """Whether a folder is a run, or the beginning of one, or has the checkpoints of one."""
    if is_run(path):
        return True
    try:
        folder = as_path(path)
        if (folder / CONFIG).is_file():
            content = read_json(folder / CONFIG)
            return isinstance(content, dict) and "config" in content
        return bool(_checkpoints(folder))
    except (InputError, OSError, ValueError):
        return False


def _checkpoints(run: epath.Path) -> list[epath.Path]:
    folder = run / _CHECKPOINTS
    inside = folder.iterdir() if folder.is_dir() else ()
    return [path for path in inside if path.name.isdecimal() and _is_checkpoint(path)]


def _is_checkpoint(path: epath.PathLike) -> bool:
    try:
        return is_checkpoint(path)
    except (InputError, OSError, ValueError):  # no path at all
        return False


def _is_file(path: epath.PathLike) -> bool:
    try:
        return as_path(path).is_file()
    except (InputError, OSError, ValueError):  # no path at all
        return False


def _why_no_model(first: str) -> str:
    """What is wrong where the first argument should name a trained network, and does not."""
    path = as_path(first)
    if not path.exists():
        near = did_you_mean(first, [*_runs_beside(path), *published_runs()])
        return f"there is no run {first}{near}, nor anything else of that name; {_EXPECTED}, first"
    _refuse_all_checkpoints(first)
    kind = "neither a run nor a checkpoint" if path.is_dir() else "no trained network"
    return f"{first} is {kind}; {_EXPECTED}, before anything else"


def _why_no_run(workdir: str) -> str:
    path = as_path(workdir)
    if not path.exists():
        return f"there is no run {workdir}{did_you_mean(workdir, _runs_beside(path))}"
    if not path.is_dir():
        return f"--workdir: {workdir} is a file; expected the folder of a run"
    return f"{workdir} is no run: it has neither {CONFIG} nor a checkpoint in {_CHECKPOINTS}"


def _why_no_config(checkpoint: str) -> str:
    which = "name its config with --config=NAME; `gcnet list configs` shows those there are"
    if checkpoint == _PUBLISHED:
        return f"--checkpoint={_PUBLISHED} does not say of which network; {which}"
    path = as_path(checkpoint)
    if not path.exists():
        return f"there is no checkpoint {checkpoint}{did_you_mean(checkpoint, published_runs())}"
    if path.is_dir():
        return f"{checkpoint} is no whole checkpoint: it has no metadata; {_EXPECTED}"
    return f"{checkpoint} does not say which network it is of; {which}"


def _refuse_all_checkpoints(checkpoint: str) -> None:
    path = as_path(checkpoint)
    if path.name == _CHECKPOINTS and path.is_dir():
        raise UsageError(
            f"{checkpoint} holds the checkpoints of a run; give one of its folders, or "
            f"{path.parent} for the best of them"
        )


def _refuse_run(checkpoint: str) -> None:
    if _is_run(checkpoint) or (as_path(checkpoint) / _CHECKPOINTS).is_dir():
        raise UsageError(
            f"--checkpoint: {checkpoint} is the folder of a run; give it as --workdir={checkpoint} "
            f"for its best checkpoint, or one of {checkpoint}/{_CHECKPOINTS}"
        )


def _runs_beside(path: epath.Path) -> list[str]:
    """The runs in the folder in which one should be, named as it was."""
    try:
        return [os.fspath(other) for other in path.parent.iterdir() if _is_run(other)]
    except OSError:
        return []


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


def _value(name: str, arguments: Sequence[str]) -> str | None:
    """What an option is given, before the command line is parsed."""
    for position, argument in enumerate(arguments):
        option, _, value = argument.partition("=")
        if option in (f"--{name}", f"-{name}"):
            return value or next(iter(arguments[position + 1 : position + 2]), None)
    return None
