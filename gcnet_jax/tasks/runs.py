"""Runs of all tasks: train, evaluate and load them, by whatever names them."""

import os
from collections.abc import Callable
from typing import Any

from etils import epath
from flax import nnx
from ml_collections import ConfigDict

from gcnet_jax.config import config_of_published, find_config, is_checkpoint, library_configs
from gcnet_jax.errors import InputError, did_you_mean
from gcnet_jax.export import is_exported, load_exported
from gcnet_jax.files import as_path, read_json
from gcnet_jax.interop import published_files, published_name, read_torch_checkpoint
from gcnet_jax.task import Evaluated, Task, TrainedNetwork
from gcnet_jax.tasks import schema_of, task_of
from gcnet_jax.tasks.configs import as_config, load_config, published_run
from gcnet_jax.training import (
    EvaluationRun,
    finished_steps,
    load_pretrained,
    read_metadata,
    run_training,
    saved_config,
    storage_path,
)
from gcnet_jax.training import find_checkpoint as find_best_by


def train(config: ConfigDict | str | os.PathLike, workdir: str | os.PathLike) -> None:
    """Trains a network, or goes on from the newest checkpoint in the workdir.

    Args:
        config: a config, the name of one of the library's, or the path of its file.
        workdir: folder of the run, made if it is not there; `gcnet_jax.load` takes it afterwards.

    Raises:
        InputError: the config, the data or the workdir's checkpoints are not usable together, or
            training diverges.
        Preempted: SIGTERM came, and what was done is saved.
    """
    train_from_config(as_config(config), workdir)


def train_from_config(
    config: ConfigDict, workdir: epath.PathLike, *, started: float | None = None
) -> None:
    """Trains the run that a config describes, see `gcnet_jax.training.run_training`."""
    run_training(task_of(config), config, workdir, started=started)


def evaluate(
    workdir: str | os.PathLike,
    split: str | None = None,
    *,
    config: ConfigDict | str | os.PathLike | None = None,
    multi_scale: bool = False,
) -> Evaluated:
    """Evaluates the best checkpoint of a run.

    Args:
        workdir: folder of the run.
        split: name of the split; by default that of the config, on which training evaluates too.
        config: a config, the name of one, or the path of its file; by default the run's own.
        multi_scale: whether to average over `evaluation.scales`, each with its mirror image.

    Returns:
        The result, such as `gcnet_jax.tasks.segmentation.split_evaluation.Evaluation`, with a
        `summary`, a `table()` and `to_plain()`.

    Raises:
        InputError: there is no checkpoint, it is not the config's, or the data set is not prepared.
    """
    used = as_config(config) if config is not None else _own_config(find_checkpoint(workdir))
    task = task_of(used)
    folder = os.fspath(as_path(workdir))
    run = EvaluationRun(task, used, split=split, multi_scale=multi_scale, workdir=folder)
    return run.evaluate()


def load_model(config: ConfigDict | str | os.PathLike, checkpoint: str | os.PathLike) -> nnx.Module:
    """A network with the weights of a checkpoint, in evaluation mode.

    Args:
        config: a config, the name of one of the library's, or the path of its file.
        checkpoint: a folder `<workdir>/checkpoints/<step>`; a `.pth` file of OpenMMLab; or
            `"published"`: the published weights of the config's `published_run`, which are fetched
            on first use.

    Raises:
        InputError: the checkpoint is not there, not whole, not this config's model, or has weights
            that are not finite.
    """
    used = as_config(config)
    return load_pretrained(task_of(used), used, checkpoint).model


def load(
    source: str | os.PathLike, *, config: ConfigDict | str | os.PathLike | None = None
) -> TrainedNetwork:
    """Loads a trained network.

    Args:
        source: the name of a published run, whose weights are fetched on first use; the folder of a
            run, of which the best checkpoint is taken; the folder of one checkpoint; a file that
            `gcnet export` has written; or a `.pth` file of OpenMMLab.
        config: a config, the name of one, or the path of its file. By default that of the run, the
            checkpoint or the exported file. A `.pth` file does not say which network its arrays are
            of: it needs one, unless its content is a published file's.

    Returns:
        The network, to be called with images.

    Raises:
        InputError: there is nothing of that name, or it is the name of two networks; it is not
            whole, it is not the config's network, or it needs a config.
    """
    if not isinstance(source, str | os.PathLike):
        raise InputError(
            f"the source is a {type(source).__name__}; expected the name of a published run, or "
            "the path of a run, of a checkpoint or of a .pth file"
        )
    named = as_config(config) if config is not None else None
    if (file := _exported_file(os.fspath(source))) is not None:
        task, used, network = load_exported(file, schema_of, task_of, config=named)
        return _as_called(task, used)(network, used)
    checkpoint, own = _locate(os.fspath(source), named)
    used = own if named is None else named
    assert used is not None
    task = task_of(used)
    network_of = _as_called(task, used)
    return network_of(load_pretrained(task, used, checkpoint), used)


def _as_called(task: Task, config: ConfigDict) -> Callable[..., TrainedNetwork]:
    if task.prediction is None:
        raise InputError(f"networks of the task {config.task!r} are not called with images")
    return task.prediction.network


def _exported_file(name: str) -> epath.Path | None:
    """The exported file of a name, if that is what it names, and no published run."""
    if published_run(name):
        return None
    path = as_path(name)
    if not path.is_file():
        return None
    if path.suffix == ".onnx":
        raise InputError(
            f"{path} is an ONNX model, which onnxruntime runs; expected a file of "
            "gcnet export --to=stablehlo"
        )
    return path if is_exported(path) else None


def find_checkpoint(workdir: epath.PathLike, config: ConfigDict | None = None) -> epath.Path:
    """The best checkpoint of a run if one was evaluated, else its newest.

    Args:
        workdir: of the run.
        config: which says what is best; by default the run's own, whose task is one of this
            library.

    Raises:
        InputError: the workdir does not exist or has no checkpoint.
    """
    task = task_of(_named_config(workdir) if config is None else config)
    return find_best_by(workdir, task.best_metric)


def _named_config(workdir: epath.PathLike) -> dict[str, Any]:
    """The plain config of a run, as far as it can be read, which names its task."""
    root = storage_path(workdir)
    steps = finished_steps(root / "checkpoints")
    readers = [lambda: read_json(root / "config.json")]
    readers += [lambda step=step: read_metadata(root / "checkpoints" / str(step)) for step in steps]
    for read in readers:
        try:
            config = read()["config"]
            if isinstance(config, dict):
                return config
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
    return {}


def _own_config(checkpoint: epath.Path) -> ConfigDict:
    return saved_config(checkpoint, schema_of)


def _locate(name: str, config: ConfigDict | None) -> tuple[str, ConfigDict | None]:
    """What `load_pretrained` takes for a source, and the source's own config if none is named."""
    needs_config = config is None
    if run := published_run(name):
        return run, load_config(find_config(name)) if needs_config else None
    path = as_path(name)
    if not path.exists():
        if name in published_files():
            config_of_published(name)  # which a backbone has not
        raise InputError(_why_nothing(name, path))
    if path.is_dir():
        folder = _checkpoint_folder(path, config)
        return os.fspath(folder), _own_config(folder) if needs_config else None
    return os.fspath(path), _config_of_file(path) if needs_config else None


def _why_nothing(name: str, path: epath.Path) -> str:
    """What is wrong with a name that is neither a published run's nor a path."""
    configs = library_configs()
    known = {short for full in configs for short in (full, full.rpartition("/")[2])}
    if name in known:
        return (
            f"the config {name} has no published weights; train it, with "
            f"gcnet_jax.train({name!r}, WORKDIR), and load the workdir"
        )
    return (
        f"there is no file or folder {path}, and no published run or config of that name"
        f"{did_you_mean(name, [*published_files(), *known])}"
    )


def _checkpoint_folder(path: epath.Path, config: ConfigDict | None) -> epath.Path:
    if path.name == "checkpoints":
        raise InputError(
            f"{path} holds the checkpoints of a run; give one of its folders, or {path.parent} for "
            "the best of them"
        )
    if (path / "checkpoints").is_dir() or (path / "config.json").is_file():
        return find_checkpoint(path, config)
    if not is_checkpoint(path):
        raise InputError(
            f"{path} is neither a run nor a checkpoint; expected a folder in which gcnet train has "
            "kept checkpoints, or one of those"
        )
    return path


def _config_of_file(path: epath.Path) -> ConfigDict:
    name = published_name(path)
    if name is None:
        read_torch_checkpoint(path)  # what is none at all needs no config
        raise InputError(
            f"{path} does not say which network it is of; name its config: "
            f"gcnet_jax.load({os.fspath(path)!r}, config=NAME)"
        )
    return load_config(find_config(config_of_published(name)))
