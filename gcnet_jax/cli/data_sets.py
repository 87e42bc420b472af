"""The data sets of all tasks, for commands that are told no task but a data set's name."""

import importlib

from etils import epath

from gcnet_jax.data import Preparable
from gcnet_jax.tasks import TASKS


def preparables() -> dict[str, Preparable]:
    """What each task can prepare, by what configs call it."""
    return {
        task: importlib.import_module(f"{package}.data").PREPARABLE
        for task, package in TASKS.items()
    }


def owner(name: str, data_dir: epath.PathLike) -> str | None:
    """The task that a data set is prepared for, which may be damaged beyond its description.

    Args:
        name: of the data set.
        data_dir: the folder of prepared data sets.

    Returns:
        What configs call the task; None where the description is of no task.
    """
    by_task = preparables()
    return next((task for task, of in by_task.items() if of.sets.holds(name, data_dir)), None)


def split_sizes(name: str, data_dir: epath.PathLike, preparable: Preparable) -> dict[str, int]:
    """The number of images in each split of a prepared data set.

    Raises:
        InputError: it is not prepared for this task, or files of it are missing.
    """
    splits = preparable.sets.contents(name, data_dir).splits
    return {split: len(preparable.sets.open_split(name, data_dir, split)) for split in splits}
