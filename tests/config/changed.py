"""Configs of segmentation with some values in their place, and what is said of them."""

from gcnet_jax.config.schema import leaves
from gcnet_jax.errors import InputError
from gcnet_jax.tasks.configs import check_config
from gcnet_jax.tasks.segmentation.config import SCHEMA, default_config

LEAVES = dict(leaves(SCHEMA.section))


def put(config, key, value):
    """Writes a value of any type, as a config's file can."""
    *sections, name = key.split(".")
    for section in sections:
        config = config[section]
    with config.unlocked(), config.ignore_type():
        config[name] = value


def with_values(values):
    """The defaults with some values in their place."""
    config = default_config()
    for key, value in values.items():
        put(config, key, value)
    return config


def check(values):
    check_config(with_values(values))


def refusal(function, *arguments):
    """What the InputError says that a function ends in; None if it returns."""
    try:
        function(*arguments)
    except InputError as error:
        return str(error)
    return None


def keys(config, prefix=""):
    for key in config:
        if hasattr(config[key], "keys"):
            yield from keys(config[key], f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
