"""Configs as plain JSON, which checkpoints and workdirs hold, and how two of them differ."""

import json
from importlib.metadata import version
from typing import Any

from ml_collections import ConfigDict

from gcnet_jax.config.checking import check_value
from gcnet_jax.config.ranges import shown
from gcnet_jax.config.schema import Leaf, Schema, Section
from gcnet_jax.errors import InputError


def to_plain(config: ConfigDict) -> dict[str, Any]:
    """The config as what JSON can hold: nested dicts, with tuples as lists."""
    return json.loads(config.to_json())


def from_plain(plain: Any, schema: Schema) -> ConfigDict:
    """The config that `to_plain` made; keys that it lacks have their defaults.

    Each value is held against its range, for it may come from a stranger's file; whether they fit
    together `check_config` says.

    Raises:
        InputError: it is something else, has unknown keys or a value out of range.
    """
    config = schema.default()
    _fill(config, plain, schema.section, "")
    return config


def _fill(config: ConfigDict, plain: Any, section: Section, prefix: str) -> None:
    if not isinstance(plain, dict):
        name = prefix.rstrip(".") or "the config"
        raise InputError(f"{name} is {shown(plain)}; expected a section with keys")
    if unknown := sorted(plain.keys() - section.keys()):
        raise InputError(f"a config has no key {shown(f'{prefix}{unknown[0]}')}")
    for key, value in plain.items():
        entry = section[key]
        if isinstance(entry, Leaf):
            value = tuple(value) if isinstance(value, list) else value
            check_value(f"{prefix}{key}", value, entry)
            config[key] = value
        else:
            _fill(config[key], value, entry, f"{prefix}{key}.")


def versions() -> dict[str, str]:
    """The versions of what a checkpoint is written with, for its metadata."""
    return {name: version(name) for name in ("gcnet-jax", "jax", "flax")}


_NOT_OF_ARRAYS = (
    "dtype",
    "dropout_rate",
    "remat_stages",
    "frozen_stages",
    "norm_eval",
    "train",
    "test",
)


def architecture(model: dict[str, Any]) -> dict[str, Any]:
    """The part of a plain `model` section that the arrays in a checkpoint depend on.

    Precision, dropout, what is computed again or frozen, and the sections `train` and `test`, of
    what is decided by the results, can change between runs; parameters fit all the same. Nor does
    it matter how context blocks that are not there would be.
    """
    return {
        key: architecture(value) if isinstance(value, dict) else value
        for key, value in (_present(model) if "block" in model else model).items()
        if key not in _NOT_OF_ARRAYS
    }


def _present(context: dict[str, Any]) -> dict[str, Any]:
    """Returns the part of a section on context blocks that concerns the block that is there."""
    if not context["block"]:
        return {"block": ""}
    of_others = [k for k, v in context.items() if isinstance(v, dict) and k != context["block"]]
    return {key: value for key, value in context.items() if key not in of_others}


def with_defaults(plain: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """A plain config in which keys that it lacks, such as one of an earlier version, have their
    defaults."""
    filled = {**defaults, **plain}
    for key, default in defaults.items():
        if isinstance(default, dict) and isinstance(filled[key], dict):
            filled[key] = with_defaults(filled[key], default)
    return filled


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """The leaves in which two plain configs differ, each as `key: old -> new`."""
    found = []
    for key in sorted(old.keys() | new.keys()):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append(f"{prefix}{key}: {a} -> {b}")
    return found
