"""A config file for ml_collections that returns the config of a run, from its `config.json`."""

from ml_collections import ConfigDict

from gcnet_jax.config import load_config


def get_config(file: str) -> ConfigDict:
    """Returns what `--config=RUN/config.json` stands for.

    Args:
        file: path of the `config.json` that training has left in its folder.
    """
    return load_config(file)
