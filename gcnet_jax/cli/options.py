"""Options that several commands take, and checks of what was given.

The options of each command are its own `flags.FlagValues`, so that all commands can be imported
into one process.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from absl import flags
from etils import epath
from ml_collections import ConfigDict, config_flags

from gcnet_jax.errors import InputError, UsageError
from gcnet_jax.files import as_path, check_writable
from gcnet_jax.tasks.configs import check_config, config_from_argument


class _ConfigParser(flags.ArgumentParser):
    """Reads `FILE[:args]` as this library does; ml_collections knows Python files alone."""

    def parse(self, argument: str) -> ConfigDict:
        """Returns the config, which overrides may still change."""
        return config_from_argument(argument)

    def flag_type(self) -> str:
        """Returns what the help calls it."""
        return "config"


def define_config_flag(command: flags.FlagValues) -> flags.FlagHolder:
    """Defines `--config=FILE[:args]` with its overrides `--config.key=value`."""
    flag = config_flags.DEFINE_config_file(
        "config",
        None,
        "name or file of the run's config, or config.json of a run; by default that of --workdir; "
        "override any leaf with --config.key=value",
        flag_values=command,
    )
    command["config"].parser = _ConfigParser()
    return flag


class CheckpointFlags(NamedTuple):
    """The flags that choose a trained model."""

    workdir: flags.FlagHolder
    checkpoint: flags.FlagHolder
    allow_partial: flags.FlagHolder

    def values(self) -> dict[str, Any]:
        """What was given, as keyword arguments for `load_trained_model`."""
        if self.workdir.value is not None:
            run_folder(self.workdir.value)
        return {name: flag.value for name, flag in self._asdict().items()}


def define_checkpoint_flags(command: flags.FlagValues) -> CheckpointFlags:
    """Defines `--workdir`, `--checkpoint` and `--allow_partial`."""
    return CheckpointFlags(
        flags.DEFINE_string(
            "workdir",
            None,
            "folder of a run; its best checkpoint is taken",
            flag_values=command,
        ),
        flags.DEFINE_string(
            "checkpoint",
            None,
            "instead: folder of one checkpoint; or a .pth file of OpenMMLab; or "
            "'published', the published weights of the config's run",
            flag_values=command,
        ),
        define_allow_partial_flag(command),
    )


def define_allow_partial_flag(command: flags.FlagValues) -> flags.FlagHolder:
    """Defines `--allow_partial`."""
    return flags.DEFINE_bool(
        "allow_partial",
        False,
        "take what fits of a .pth file of another model",
        flag_values=command,
    )


class ProcessFlags(NamedTuple):
    """The flags that say which process of a job this is."""

    coordinator_address: flags.FlagHolder
    num_processes: flags.FlagHolder
    process_id: flags.FlagHolder

    def join(self, *, listens: bool = False) -> None:
        """Joins the other processes, see `gcnet_jax.parallel.join_processes`."""
        from gcnet_jax.parallel import join_processes

        given = {name: flag.value for name, flag in self._asdict().items()}
        join_processes(**given, listens=listens)


def define_process_flags(command: flags.FlagValues) -> ProcessFlags:
    """Defines `--coordinator_address`, `--num_processes` and `--process_id`."""
    return ProcessFlags(
        flags.DEFINE_string(
            "coordinator_address",
            None,
            "HOST:PORT of the first process, where the cluster (Cloud TPU, GKE, SLURM, Open MPI) "
            "does not tell",
            flag_values=command,
        ),
        flags.DEFINE_integer(
            "num_processes",
            None,
            "how many processes the job has, where the cluster does not tell",
            lower_bound=1,
            flag_values=command,
        ),
        flags.DEFINE_integer(
            "process_id",
            None,
            "which of them this is, from 0, where the cluster does not tell",
            lower_bound=0,
            flag_values=command,
        ),
    )


def checked_config(flag: flags.FlagHolder) -> ConfigDict:
    """The config given on the command line, with exactly the keys there are.

    Raises:
        UsageError: none is given.
        InputError: it has a key too many, or a value out of range.
    """
    if flag.value is None:
        raise UsageError(
            "--config=NAME or FILE is required, for example --config=context_shapes/gcnet; "
            "`gcnet list configs` shows those there are, and a run's folder has its own"
        )
    check_config(flag.value)
    return flag.value


def required(value: str | None, flag: str) -> str:
    """The value of a flag; raises UsageError if it is not given."""
    if value is None:
        raise UsageError(f"{flag} is required; see --help")
    return value


def run_folder(value: str | None) -> str:
    """The folder that `--workdir` names, which need not be there.

    Raises:
        UsageError: none is given, or it is a file.
    """
    folder = required(value, "--workdir")
    if as_path(folder).exists() and not as_path(folder).is_dir():
        raise UsageError(f"--workdir: {folder} is a file; expected the folder of a run")
    return folder


def output_folder(value: str | None, flag: str) -> epath.Path:
    """The folder that a flag names, made if it is not there: it fails before the work, not after.

    Raises:
        UsageError: no folder is given, or it is a file.
        InputError: it cannot be written to.
    """
    folder = as_path(required(value, flag))
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{flag}: {folder} is a file; expected a folder")
    check_writable(folder)
    return folder


def output_file(file: epath.PathLike, *, key: str, beside: Sequence[str]) -> epath.Path:
    """The JSON file of `--output`, once it is clear that it and those beside it can be written.

    Files that are there are replaced if an earlier start of the command wrote them, and only then.

    Args:
        file: its name.
        key: of the JSON objects that the command writes, and no other program.
        beside: names of what the command writes with it, in the same folder.

    Raises:
        UsageError: it is no name of a JSON file.
        InputError: its folder cannot be written to, or what is there is something else.
    """
    path = as_path(file)
    if path.suffix != ".json" or path.is_dir():
        raise UsageError(f"--output: {path} is no file name that ends in .json")
    written = (path, *(path.parent / name for name in beside))
    there = next((file for file in written if file.exists()), None)
    if there is not None and not _is_object_with(key, path):
        raise InputError(
            f"--output: {there} is there, and this command did not write it; expected a new name"
        )
    check_writable(path.parent)
    return path


def _is_object_with(key: str, path: epath.Path) -> bool:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and key in content


def refuse(arguments: list[str]) -> None:
    """Raises UsageError if there are positional arguments, for commands that take none."""
    if arguments:
        raise UsageError(f"unexpected arguments: {' '.join(arguments)}; see --help")
