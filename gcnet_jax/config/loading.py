"""A run's config from the file that a user names: Python code, or what a run has written."""

import contextlib
import importlib.util
import os
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from gcnet_jax.config.checking import check_config, named_code
from gcnet_jax.config.library import configs_named, find_config
from gcnet_jax.config.plain import from_plain
from gcnet_jax.config.schema import Schema
from gcnet_jax.errors import InputError
from gcnet_jax.files import as_path, in_bucket, read_json

SchemaOf = Callable[[Any], Schema]
"""Finds the schema of a config, which may be a `ConfigDict` or plain, by the task that it names."""

_METADATA = ("metadata", "metadata")  # of a checkpoint's folder
_LARGEST_JSON = 1 << 24  # bytes; one with 255 classes has some 30 thousand


def load_config(file: epath.PathLike, *arguments: str, schema_of: SchemaOf) -> ConfigDict:
    """Reads a config and checks its keys and values.

    Args:
        file: as for `read_config`.
        *arguments: as for `read_config`.
        schema_of: finds the schema of the config.

    Raises:
        InputError: as `read_config` and `check_config`.
    """
    config = read_config(file, *arguments, schema_of=schema_of)
    try:
        check_config(config, schema_of(config))
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    return config


def as_config(named: ConfigDict | str | os.PathLike, *, schema_of: SchemaOf) -> ConfigDict:
    """A config by whatever stands for it in a call, checked.

    Args:
        named: the config itself; the name of one of the library's; or the path of a file, see
            `read_config`. Behind a name or a path may stand `:argument`.
        schema_of: finds the schema of the config.

    Raises:
        InputError: as `read_config` and `check_config`.
    """
    if isinstance(named, ConfigDict):
        check_config(named, schema_of(named))
        return named
    if not isinstance(named, str | os.PathLike):
        raise InputError(
            f"the config is a {type(named).__name__}; expected a config, the name of one, or the "
            "path of its file"
        )
    file, arguments = split_argument(os.fspath(named))
    return load_config(file, *arguments, schema_of=schema_of)


def is_checkpoint(path: epath.PathLike) -> bool:
    """Whether a folder is a checkpoint with its metadata, whole or not, of which nothing is read.

    Raises:
        InputError: as `as_path`.
        OSError: whether it is cannot be seen.
    """
    return as_path(path).joinpath(*_METADATA).is_file()


def read_config(file: epath.PathLike, *arguments: str, schema_of: SchemaOf) -> ConfigDict:
    """Reads a config that may still be changed before `check_config` sees it.

    Args:
        file: path of a Python file, whose `get_config` is run; what it imports from a package
            `configs` is looked up beside the nearest folder of that name above it. Or the
            `config.json` of a run's workdir, or the folder of a checkpoint: out of these no code is
            run.
        *arguments: what `get_config` takes, if anything.
        schema_of: finds the schema of what is in a `config.json` or a checkpoint.

    Raises:
        InputError: there is no such file, it has no `get_config` that returns a config, a key is
            misspelt, or a value of `config.json` is not in its range.
    """
    path = as_path(file)
    if is_checkpoint(path):
        return _read_json(
            path.joinpath(*_METADATA), path, "a whole checkpoint", arguments, schema_of
        )
    if path.is_dir():
        raise InputError(
            f"the config {path} is a folder; expected a file, such as {path / 'config.json'} if "
            "this is a run's workdir"
        )
    local = path if in_bucket(path) else Path(path)
    if not local.is_file():  # of which a pipe is none: whoever opens one waits
        raise InputError(f"there is no config file {path}")
    if path.suffix == ".json":
        return _read_json(path, path, "what a run writes as config.json", arguments, schema_of)
    if not isinstance(local, Path):
        raise InputError(f"the config {path} is in a bucket; expected a local file of Python code")
    return _run_python(local, arguments)


def split_argument(argument: str) -> tuple[epath.PathLike, list[str]]:
    """The file of a command line's `FILE` or `FILE:argument`, and the argument if there is one.

    Folders and files may have colons in their names: the file is the shortest beginning that there
    is. In its place there may be the name of one of the library's configs, whatever else is in a
    folder of that name: often a run of that config.
    """
    if in_bucket(argument):
        return argument, []
    parts = argument.split(":")
    for count in range(1, len(parts) + 1):
        file = Path(":".join(parts[:count]))
        if file.is_file():
            return file, [":".join(parts[count:])] if count < len(parts) else []
    name, further = parts[0], [":".join(parts[1:])] if len(parts) > 1 else []
    if Path(argument).exists() and (is_checkpoint(argument) or not configs_named(name)):
        return Path(argument), []
    return find_config(name), further


def _run_python(path: Path, arguments: tuple[str, ...]) -> ConfigDict:
    spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        with _common_configs_importable(path):
            spec.loader.exec_module(module)
            config = module.get_config(*arguments)
        if isinstance(config, ConfigDict):
            return config.lock()
    except (Exception, SystemExit) as error:  # a config is code: anything can go wrong in it
        kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
        raise InputError(f"{path}: {kind}{brief_reason(error)}") from error
    lacking = ": it has no `return config`" if config is None else ""
    raise InputError(
        f"{path}: get_config returns a {type(config).__name__}{lacking}; expected the config that "
        "default_config() of a task has begun"
    )


def _read_json(
    path: epath.Path,
    named: epath.Path,
    expected: str,
    arguments: Sequence[str],
    schema_of: SchemaOf,
) -> ConfigDict:
    """Reads a file that holds a config as its `config`.

    Args:
        path: of the file.
        named: what the user has named.
        expected: what that should be.
        arguments: that were given with it.
        schema_of: finds the schema of the config.
    """
    if arguments:
        raise InputError(f"{named} takes no argument; given: {', '.join(arguments)}")
    try:
        if path.stat().length > _LARGEST_JSON:
            raise ValueError(f"it is larger than {_LARGEST_JSON} bytes")
        plain = read_json(path)["config"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{named} is not {expected} ({type(error).__name__}: {brief_reason(error)[:200]})"
        ) from error
    try:
        schema = schema_of(plain)
        config = from_plain(plain, schema)
    except InputError as error:
        raise InputError(f"{named}: {error}") from error
    for key, value in named_code(config, schema):
        raise InputError(
            f"{named} names code by its module, {key} = {value!r}, and a JSON file must not choose "
            "code to run: give the Python file of this config"
        )
    return config


@contextlib.contextmanager
def _common_configs_importable(file: Path) -> Iterator[None]:
    """Lets a file below a folder `configs` import `configs.common`, whatever the current folder.

    The package `configs` is that folder's while the file runs, and what it was before afterwards:
    users have folders of that name too.
    """
    folder = next((x for x in file.resolve().parents if x.name == "configs"), None)
    before = _configs_modules()
    for name in before:
        del sys.modules[name]
    if folder is not None:
        package = types.ModuleType("configs")
        package.__path__ = [str(folder)]
        sys.modules["configs"] = package
    try:
        yield
    finally:
        for name in _configs_modules():
            del sys.modules[name]
        sys.modules.update(before)


def _configs_modules() -> dict[str, types.ModuleType]:
    return {k: m for k, m in sys.modules.items() if k == "configs" or k.startswith("configs.")}


def brief_reason(error: BaseException) -> str:
    """What an exception says, on one line.

    ml_collections wraps the message on a misspelt key into several exceptions, each the argument of
    the next, and lists all keys there are before it says which was meant.
    """
    reason: Any = error
    while isinstance(reason, AttributeError | KeyError) and reason.args:
        reason = reason.args[0]
    lines = [line.strip("'\" ") for line in str(reason).replace("\\n", "\n").splitlines()]
    if lines and lines[-1].startswith("Did you mean"):
        lines = lines[-1:]
    return " ".join(lines)
