"""Schedules that are counted in epochs, and the steps that they come to."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from gcnet_jax.errors import InputError

_IN_STEPS = {
    "total": ("training", "total_steps"),
    "warmup": ("optimizer", "warmup_steps"),
    "milestones": ("optimizer", "milestones"),
    "evaluate_every": ("training", "evaluate_every"),
    "checkpoint_every": ("training", "checkpoint_every"),
}
"""Where the value in steps is of each key of the section `epochs`."""

_NEEDED = ("total", "evaluate_every", "checkpoint_every")


def check_epochs(config: ConfigDict) -> None:
    """Raises InputError unless each part of the schedule is counted in steps or in epochs.

    Both is well only where they are the same, as `in_steps` makes them; the steps of an epoch alone
    say nothing.
    """
    epochs = config.epochs
    if epochs.steps and not any(epochs[key] for key in _IN_STEPS):
        raise InputError(
            f"epochs.steps is {epochs.steps}, and nothing is counted in epochs; expected 0, or one "
            f"of {', '.join(f'epochs.{key}' for key in _IN_STEPS)}"
        )
    for key, (section, name) in _IN_STEPS.items():
        counted, steps = epochs[key], config[section][name]
        if counted and steps and steps != _times(counted, epochs.steps):
            none = "()" if key == "milestones" else "0"
            raise InputError(
                f"{section}.{name} is {steps} and epochs.{key} is {counted}; expected one of them "
                f"to be {none}: a schedule is counted in steps or in epochs"
            )
        if key in _NEEDED and not counted and not steps:
            raise InputError(
                f"{section}.{name} and epochs.{key} are both 0; expected one of them to be more"
            )


def in_steps(config: ConfigDict, images: int) -> ConfigDict:
    """A config whose schedule is counted in steps, also where it was in epochs.

    `epochs.steps` says how many an epoch has, or else there are as many as it takes batches to hold
    all images; the result says it. What is counted in steps already stays.

    Args:
        config: of a run, checked. The result is not: what comes out may not fit together.
        images: that are trained on.
    """
    counted = {
        key: place
        for key, place in _IN_STEPS.items()
        if config.epochs[key] and not config[place[0]][place[1]]
    }
    if not counted:
        return config
    config = config.copy_and_resolve_references()
    config.epochs.steps = config.epochs.steps or _steps_of(images, config.training.batch_size)
    for key, (section, name) in counted.items():
        config[section][name] = _times(config.epochs[key], config.epochs.steps)
    return config


def check_same_epochs(old: Mapping[str, Any], new: Mapping[str, Any], what: str) -> None:
    """Refuses to go on where epochs would come to another number of steps than until now.

    Args:
        old: the plain config so far, in steps.
        new: the plain config from now on.
        what: is of the old one, for a message.

    Raises:
        InputError: they would, for the data set or the batch has another size.
    """
    before, now = (plain.get("epochs", {}).get("steps") for plain in (old, new))
    if before and now and before != now:
        raise InputError(
            f"{what} whose epochs have {before} steps, and now they would have {now}: the data set "
            "or training.batch_size has changed. Use another workdir, or go on with the old steps: "
            f"--config.epochs.steps={before}"
        )


def schedule_in_words(config: ConfigDict, images: int) -> str:
    """How long a run trains, and when its rate falls: one line, or two.

    Args:
        config: of the run, with a schedule in steps.
        images: that are trained on.
    """
    batch_size, total = config.training.batch_size, config.training.total_steps
    epochs = config.epochs.total
    if epochs and total == epochs * _steps_of(images, batch_size):
        passes = "1 epoch" if epochs == 1 else f"{epochs} epochs"
        said = f"{passes} of {images} images at batch {batch_size}: {total} steps"
    else:
        passes = total * batch_size / images
        said = f"{total} steps at batch {batch_size}: {passes:.1f} epochs of {images} images"
    *others, last = map(str, config.optimizer.milestones) if config.optimizer.milestones else [""]
    if last:
        steps = f"steps {', '.join(others)} and {last}" if others else f"step {last}"
        said += f"\nthe rate falls after {steps}"
    return said


def _steps_of(images: int, batch_size: int) -> int:
    """Steps of an epoch: batches that hold all images, of which the last need not be full."""
    return -(-images // batch_size)


def _times(count: Any, steps: int) -> Any:
    """A number of epochs, or some of them, in steps."""
    return tuple(steps * one for one in count) if isinstance(count, tuple) else steps * count
