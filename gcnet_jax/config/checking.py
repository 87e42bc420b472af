"""Checks of a config: its keys, every value against its range, and values against each other."""

from typing import Any

from ml_collections import ConfigDict

from gcnet_jax.config.ranges import shown
from gcnet_jax.config.schema import SCHEMA, Leaf, Section
from gcnet_jax.errors import InputError


def check_config(config: Any) -> None:
    """Raises InputError unless a config has all keys, and values that can be worked with.

    What depends on more than the config (the devices, the data set, the weights to start from) is
    checked where that is known.
    """
    _check_keys(config, SCHEMA, "the config")
    _check_values(config, SCHEMA, "")
    _check_model_as_a_whole(config.model)
    _check_scales(config.data)
    _check_schedule(config)
    _check_windows(config.evaluation)


def check_model_config(config: Any) -> None:
    """Raises InputError unless a `model` section has all keys, and values that fit together."""
    section = SCHEMA["model"]
    assert not isinstance(section, Leaf)
    _check_keys(config, section, "the model section of the config")
    _check_values(config, section, "model.")
    _check_model_as_a_whole(config)


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
    """Which keys a config has beyond a section, and which of the section it lacks."""
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


def _check_model_as_a_whole(model: ConfigDict) -> None:
    """Raises InputError if a place for something is in a stage that the backbone does not have."""
    backbone = model.backbone
    used = {"backbone.remat_stages": backbone.remat_stages}
    used["decode_head.stage"] = (model.decode_head.stage,)
    if backbone.context.block:
        used["backbone.context.stages"] = backbone.context.stages
    if model.auxiliary_head.enabled:
        used["auxiliary_head.stage"] = (model.auxiliary_head.stage,)
    for key, stages in used.items():
        if any(stage >= backbone.num_stages for stage in stages):
            raise InputError(
                f"model.{key} is {', '.join(map(str, stages))}, but the backbone has "
                f"{backbone.num_stages} stages, counted from 0 (model.backbone.num_stages)"
            )


def _check_scales(data: ConfigDict) -> None:
    least, most = data.scale_range
    if least > most:
        raise InputError(
            f"data.scale_range is {data.scale_range}; expected the least ratio first, then the "
            "greatest"
        )
    if min(data.base_scale) * least < 1:
        raise InputError(
            f"data.scale_range starts at {least}, which leaves less than a pixel of "
            f"data.base_scale, {data.base_scale}"
        )


def _check_schedule(config: ConfigDict) -> None:
    optimizer, training = config.optimizer, config.training
    if optimizer.final_learning_rate > optimizer.learning_rate:
        raise InputError(
            f"optimizer.final_learning_rate is {optimizer.final_learning_rate}; expected no more "
            f"than optimizer.learning_rate, {optimizer.learning_rate}, from which it falls"
        )
    if training.batch_size % training.accumulation_steps:
        raise InputError(
            f"training.batch_size is {training.batch_size}, which does not divide into "
            f"training.accumulation_steps, {training.accumulation_steps}, equal parts"
        )


def _check_windows(evaluation: ConfigDict) -> None:
    window, stride = evaluation.window, evaluation.window_stride
    if any(step > extent for step, extent in zip(stride, window, strict=True)):
        raise InputError(
            f"evaluation.window_stride is {stride}; expected at most the window, {window}: a "
            "larger one would leave gaps"
        )
