"""From a name or a file to a detector that takes images."""

import functools
import os
from importlib import resources
from pathlib import Path
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from gcnet_jax import config as configs
from gcnet_jax.config import Schema, configs_named, library_folder
from gcnet_jax.errors import InputError, did_you_mean
from gcnet_jax.files import as_path
from gcnet_jax.interop import (
    PublishedFile,
    fetch_published,
    published_name,
    read_published,
    read_torch_checkpoint,
)
from gcnet_jax.tasks.detection.build_model import build_model
from gcnet_jax.tasks.detection.classes import known_classes
from gcnet_jax.tasks.detection.config import SCHEMA
from gcnet_jax.tasks.detection.trained_detector import TrainedDetector
from gcnet_jax.tasks.detection.weights import FOREIGN
from gcnet_jax.training import load_foreign


@functools.cache
def published_detectors() -> dict[str, PublishedFile]:
    """The weights of mmdetection's runs of GCNet and of their baselines, by the configs' names."""
    return read_published(resources.files("gcnet_jax.tasks.detection") / "published_weights.json")


def load_detector(
    source: str | os.PathLike, *, config: ConfigDict | str | os.PathLike | None = None
) -> TrainedDetector:
    """Loads a trained detector.

    Args:
        source: the name of a published run, whose weights are fetched on first use; or a `.pth`
            file of mmdetection.
        config: a config, the name of a published run, or the path of a config's file. A `.pth` file
            does not say which network its arrays are of: it needs one, unless its content is a
            published file's.

    Returns:
        The detector, to be called with images.

    Raises:
        InputError: there is nothing of that name; it is not whole, it is not the config's network,
            or it needs a config.
    """
    if not isinstance(source, str | os.PathLike):
        raise InputError(
            f"the source is a {type(source).__name__}; expected the name of a published detector, "
            "or the path of a .pth file"
        )
    used = None if config is None else _as_config(config)
    path, run = _locate(os.fspath(source), needs_config=used is None)
    used = _as_config(run) if used is None else used
    return TrainedDetector(
        load_foreign(
            path,
            used,
            FOREIGN,
            lambda config, classes: build_model(
                config.model, num_classes=classes.num_classes, seed=config.seed
            ),
            lambda config: known_classes(config.data.name),
        ),
        used,
    )


def _locate(name: str, *, needs_config: bool) -> tuple[epath.Path, str]:
    """The file of weights that is meant, and which run it is of, if that has to be known."""
    files = published_detectors()
    if name in files:  # a file of that name would be given as ./NAME
        return epath.Path(fetch_published(name, files=files)), name
    path = as_path(name)
    if not path.exists():
        raise InputError(
            f"there is no file {path}, and no published detector of that name"
            f"{did_you_mean(name, files)}"
        )
    if path.is_dir():
        raise InputError(
            f"{path} is a folder; expected a .pth file, or the name of a published detector"
        )
    if not needs_config:
        return path, ""
    run = published_name(path, files=files)
    if run is None:
        read_torch_checkpoint(path)  # what is none at all needs no config
        raise InputError(
            f"{path} does not say which network it is of; name its config: "
            f"load_detector({os.fspath(path)!r}, config=NAME)"
        )
    return path, run


def _as_config(named: ConfigDict | str | os.PathLike) -> ConfigDict:
    """A config by whatever stands for it in a call, checked."""
    if isinstance(named, str) and named in published_detectors():
        named = library_folder() / "detection" / "coco" / f"{named}.py"
    elif isinstance(named, str) and not (
        Path(named.split(":")[0]).exists() or configs_named(named)
    ):
        raise InputError(
            f"there is no config file {named}, and no published detector of that name"
            f"{did_you_mean(named, published_detectors())}"
        )
    return configs.as_config(named, schema_of=_schema_of)


def _schema_of(config: Any) -> Schema:
    task = config.get("task") if isinstance(config, ConfigDict | dict) else SCHEMA.task
    if task != SCHEMA.task:
        raise InputError(f"the config is of the task {task!r}; expected {SCHEMA.task!r}")
    return SCHEMA
