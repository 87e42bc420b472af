"""What networks are trained for: a folder a task, which a config names.

The folder of a task has a module `config`, with `SCHEMA`, that of its configs, and a module `task`,
with `TASK`, what a run needs of it (`gcnet_jax.task.Task`). Nothing else here knows which tasks
there are.
"""

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from gcnet_jax.config import Schema
from gcnet_jax.errors import InputError, did_you_mean

if TYPE_CHECKING:  # which needs JAX, and to read a config needs none
    from gcnet_jax.task import Task

TASKS: Mapping[str, str] = MappingProxyType(
    {
        "segmentation": "gcnet_jax.tasks.segmentation",
        "classification": "gcnet_jax.tasks.classification",
    }
)
"""The package of each task of this library, by what configs call it."""

_FIRST = "segmentation"  # of configs that name no task: there was no other when they were written


def schema_of(config: ConfigDict | Mapping[str, Any]) -> Schema:
    """The schema of a config, by the task that it names.

    Args:
        config: a config; or a plain one, from a file that is perhaps not the user's own.

    Raises:
        InputError: there is no such task.
    """
    return _module(config, "config").SCHEMA


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
    # What is no config at all is named by whoever reads it further.
    task = config.get("task", _FIRST) if isinstance(config, ConfigDict | Mapping) else _FIRST
    package = TASKS.get(task) if isinstance(task, str) else None
    own = package is None and isinstance(config, ConfigDict) and "." in str(task)
    if package is None and not own:
        raise InputError(
            f"there is no task {task!r}{did_you_mean(str(task), TASKS)}; expected one of "
            f"{', '.join(TASKS)}, or in a Python file of your own PACKAGE.MODULE of one of your own"
        )
    module = f"{package or task}.{name}"
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if package is not None:
            raise
        raise InputError(f"the task {task!r} cannot be imported: {error}") from error
