"""Checks of a config: its keys, every value against its range, and values against each other."""

import itertools
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from gcnet_jax.config.epochs import check_epochs
from gcnet_jax.config.ranges import NamedOrCode, shown
from gcnet_jax.config.schema import Leaf, Schema, Section, leaves
from gcnet_jax.errors import InputError


def check_config(config: Any, schema: Schema) -> None:
    """Raises InputError unless a config has all keys, and values that can be worked with.

    What depends on more than the config (the devices, the data set, the weights to start from) is
    checked where that is known.
    """
    check_section(config, schema.section, "the config", "")
    schema.check(config)
    _check_training(config)
    check_epochs(config)
    _check_schedule(config)


def check_section(config: Any, section: Section, what: str, prefix: str) -> None:
    """Raises InputError unless a section of a config has all keys, each with a value in its range.

    Args:
        config: the section.
        section: what it may hold.
        what: what to call it in a message.
        prefix: of its keys in a message, such as `model.`.
    """
    _check_keys(config, section, what)
    _check_values(config, section, prefix)


def named_code(config: ConfigDict, schema: Schema) -> Iterator[tuple[str, str]]:
    """Yields the keys whose values name code of a user's own, with the values."""
    for key, leaf in leaves(schema.section):
        if isinstance(leaf.range, NamedOrCode):
            value: Any = config
            for part in key.split("."):
                value = value[part]
            if leaf.range.is_code(value):
                yield key, value


def check_value(key: str, value: Any, leaf: Leaf) -> None:
    """Raises InputError unless a value is in the range of its key."""
    if not leaf.range.holds(value):
        raise InputError(f"{key} is {shown(value)}; expected {leaf.range}")


def _check_keys(config: Any, section: Section, what: str) -> None:
    if not isinstance(config, ConfigDict):
        raise InputError(f"{what} is a {type(config).__name__}; expected a ConfigDict")
    unknown, missing = _differing_keys(config, section, "")
    if unknown:
        raise InputError(f"{what} has unknown keys: {', '.join(unknown)}")
    if missing:
        raise InputError(f"{what} lacks the keys: {', '.join(missing)}")


def _differing_keys(
    config: ConfigDict, section: Section, prefix: str
) -> tuple[list[str], list[str]]:
    """Returns the keys that a config has beyond a section, and those that it lacks."""
    there = set(config.keys())
    unknown = [f"{prefix}{key}" for key in sorted(there - section.keys())]
    missing = [f"{prefix}{key}" for key in section if key not in there]
    for key, entry in section.items():
        if key not in there or isinstance(entry, Leaf):
            continue
        inside = _value(config, key, prefix)
        if isinstance(inside, ConfigDict):
            found = _differing_keys(inside, entry, f"{prefix}{key}.")
            unknown, missing = unknown + found[0], missing + found[1]
        else:
            missing.append(f"{prefix}{key}.*")
    return unknown, missing


def _check_values(config: ConfigDict, section: Section, prefix: str) -> None:
    for key, entry in section.items():
        value = _value(config, key, prefix)
        if isinstance(entry, Leaf):
            check_value(f"{prefix}{key}", value, entry)
        else:
            _check_values(value, entry, f"{prefix}{key}.")


def _value(config: ConfigDict, key: str, prefix: str) -> Any:
    try:
        return config[key]
    except Exception as error:  # of a placeholder that nobody has filled, or a reference's function
        raise InputError(f"{prefix}{key} has no value: {error}") from error


def _check_training(config: ConfigDict) -> None:
    training = config.training
    if training.batch_size % training.accumulation_steps:
        raise InputError(
            f"training.batch_size is {training.batch_size}, which does not divide into "
            f"training.accumulation_steps, {training.accumulation_steps}, equal parts"
        )


def _check_schedule(config: ConfigDict) -> None:
    optimizer = config.optimizer
    if optimizer.schedule != "steps" and optimizer.final_learning_rate > optimizer.learning_rate:
        raise InputError(
            f"optimizer.final_learning_rate is {optimizer.final_learning_rate}; expected no more "
            f"than optimizer.learning_rate, {optimizer.learning_rate}, from which it falls"
        )
    _check_order(config, "optimizer.warmup_steps", "optimizer.milestones", "training.total_steps")
    _check_order(config, "epochs.warmup", "epochs.milestones", "epochs.total")


def _check_order(config: ConfigDict, warmup_key: str, milestones_key: str, total_key: str) -> None:
    """Raises InputError unless warm-up, milestones and the end come in this order.

    A total of 0 is counted otherwise, and compared once it is known in the same unit.
    """
    warmup, milestones, total = (
        config[section][key]
        for section, key in (x.split(".") for x in (warmup_key, milestones_key, total_key))
    )
    schedule = config.optimizer.schedule
    if total and warmup >= total:
        raise InputError(f"{warmup_key} is {warmup}; expected fewer than {total_key}, {total}")
    if milestones and schedule != "steps":
        raise InputError(
            f"{milestones_key} is {milestones}, which optimizer.schedule '{schedule}' has no "
            "use for; expected () or schedule 'steps'"
        )
    if any(later <= earlier for earlier, later in itertools.pairwise(milestones)):
        raise InputError(f"{milestones_key} is {milestones}; expected each above the one before")
    if milestones and not (warmup <= milestones[0] and (milestones[-1] < total or not total)):
        end = f", and all before {total_key}, {total}" if total else ""
        raise InputError(
            f"{milestones_key} is {milestones}; expected none before the end of {warmup_key}, "
            f"{warmup}{end}"
        )
