"""Configs of all tasks: read, checked, and made from plain JSON."""

import os
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from gcnet_jax import config as configs
from gcnet_jax.config import configs_named, find_config, is_checkpoint
from gcnet_jax.errors import UsageError
from gcnet_jax.files import as_path
from gcnet_jax.tasks import schema_of


def load_config(file: epath.PathLike, *arguments: str) -> ConfigDict:
    """Reads a config and checks its keys and values.

    Args:
        file: as for `read_config`.
        *arguments: as for `read_config`.

    Raises:
        InputError: as `read_config` and `check_config`.
    """
    return configs.load_config(file, *arguments, schema_of=schema_of)


def as_config(named: ConfigDict | str | os.PathLike) -> ConfigDict:
    """A config by whatever stands for it in a call, checked.

    Args:
        named: the config itself; the name of one of the library's; or the path of a file, see
            `read_config`. Behind a name or a path may stand `:argument`.

    Raises:
        InputError: as `read_config` and `check_config`.
    """
    return configs.as_config(named, schema_of=schema_of)


def read_config(file: epath.PathLike, *arguments: str) -> ConfigDict:
    """Reads a config that may still be changed before `check_config` sees it.

    Args:
        file: path of a Python file, whose `get_config` is run; or the `config.json` of a run's
            workdir, or the folder of a checkpoint: out of these no code is run.
        *arguments: what `get_config` takes, if anything.

    Raises:
        InputError: there is no such file, it has no `get_config` that returns a config, a key is
            misspelt, or a value of `config.json` is not in its range.
    """
    return configs.read_config(file, *arguments, schema_of=schema_of)


def config_from_argument(argument: str) -> ConfigDict:
    """Reads the config of a command line's `FILE` or `FILE:argument`; raises as `read_config`."""
    file, arguments = configs.split_argument(argument)
    return read_config(file, *arguments)


def published_run(name: str) -> str | None:
    """The published run that the name of a trained network means.

    Runs and checkpoints go by their paths, published runs by the names of their configs, with or
    without the folder. Where a name is both, nothing is guessed.

    Args:
        name: a path or a name.

    Returns:
        The run's name; None if this is no name of a config, or nobody has published its weights.

    Raises:
        UsageError: there is a run or a checkpoint at a path of that name, too.
    """
    full = next(iter(configs_named(name)), None)
    if full is None or not (run := read_config(find_config(full)).published_run):
        return None
    folder = as_path(name)
    if is_checkpoint(folder) or any((folder / x).exists() for x in ("config.json", "checkpoints")):
        raise UsageError(
            f"{name} is both a folder of a trained network and the name of a published run; give "
            f"./{name} for the folder, or {run if name == full else full} for the published run"
        )
    return run


def check_config(config: ConfigDict) -> None:
    """Raises InputError unless a config has all keys of its task, and values to work with."""
    configs.check_config(config, schema_of(config))


def from_plain(plain: dict[str, Any]) -> ConfigDict:
    """The config that `gcnet_jax.config.to_plain` made; keys that it lacks have their defaults.

    Raises:
        InputError: it is something else, has unknown keys or a value out of range, or names no task
            of this library.
    """
    return configs.from_plain(plain, schema_of(plain))
