"""What networks are trained for: a folder a task, which a config names.

The folder of a task has a module `config`, with `SCHEMA`, that of its configs, and a module `task`,
with `TASK`, what a run needs of it (`gcnet_jax.task.Task`). Nothing else here knows which tasks
there are.
"""

import importlib
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from gcnet_jax.config import Schema, brief_reason
from gcnet_jax.config.ranges import shown
from gcnet_jax.errors import InputError, did_you_mean

if TYPE_CHECKING:  # which needs JAX, and to read a config needs none
    from gcnet_jax.task import Task

TASKS: Mapping[str, str] = MappingProxyType(
    {
        "segmentation": "gcnet_jax.tasks.segmentation",
        "classification": "gcnet_jax.tasks.classification",
        "detection": "gcnet_jax.tasks.detection",
    }
)
"""The package of each task of this library, by what configs call it."""

_FIRST = "segmentation"  # of configs that name no task: there was no other when they were written


def schema_of(config: ConfigDict | Mapping[str, Any]) -> Schema:
    """The schema of a config, by the task that it names.

    Args:
        config: a config; or a plain one, from a file that is perhaps not the user's own.

    Raises:
        InputError: there is no such task, or its package cannot be imported or has no schema.
    """
    module = _module(config, "config")
    schema = getattr(module, "SCHEMA", None)
    if not isinstance(schema, Schema):
        raise InputError(
            f"the task {shown(_named(config))} is none: {module.__name__} has no SCHEMA, "
            "a gcnet_jax.config.Schema"
        )
    return schema


def schemas() -> dict[str, Schema]:
    """The schemas of all tasks of this library, by what configs call them."""
    return {task: schema_of({"task": task}) for task in TASKS}


def task_of(config: ConfigDict | Mapping[str, Any]) -> "Task":
    """The task that a config names; arguments and errors as of `schema_of`."""
    return _module(config, "task").TASK


def _module(config: ConfigDict | Mapping[str, Any], name: str) -> Any:
    """A module of the package of a config's task.

    A config of a user's own may name a package of a user's own. A plain one comes out of a file,
    which must not choose code to import.
    """
    task = _named(config)
    package = TASKS.get(task) if isinstance(task, str) else None
    if package is not None:
        return importlib.import_module(f"{package}.{name}")
    if not (isinstance(config, ConfigDict) and _is_path_of_module(task)):
        advice = did_you_mean(task, TASKS) if isinstance(task, str) else ""
        raise InputError(
            f"there is no task {shown(task)}{advice}; expected one of "
            f"{', '.join(TASKS)}, or in a Python file of your own PACKAGE.MODULE of one of your own"
        )
    try:
        return importlib.import_module(f"{task}.{name}")
    except Exception as error:  # a module is code: anything can go wrong in it
        raise InputError(
            f"the task {shown(task)} cannot be imported "
            f"({type(error).__name__}: {brief_reason(error)[:200]})"
        ) from error


def _named(config: ConfigDict | Mapping[str, Any]) -> Any:
    """What a config has as the name of its task."""
    if not isinstance(config, ConfigDict | Mapping):
        return _FIRST  # what is no config at all is named by whoever reads it further
    try:
        return config.get("task", _FIRST)
    except Exception as error:  # of a placeholder that nobody has filled, or a reference's function
        raise InputError(f"task has no value: {brief_reason(error)[:200]}") from error


def _is_path_of_module(task: Any) -> bool:
    """Whether a name can be that of a module in a package.

    Others are not given to `importlib`: it runs the modules on the way to one that cannot be, and
    takes a leading dot for a relative import.
    """
    return isinstance(task, str) and re.fullmatch(r"\w+(\.\w+)+", task) is not None
