"""A trained network by whatever names it, ready to take images."""

import functools
import os
from collections.abc import Sequence
from typing import cast, overload

from etils import epath
from ml_collections import ConfigDict

from gcnet_jax.config import (
    as_config,
    config_of_published,
    find_config,
    is_checkpoint,
    library_configs,
    load_config,
    published_run,
)
from gcnet_jax.data import DatasetClasses
from gcnet_jax.errors import InputError, did_you_mean
from gcnet_jax.files import as_path
from gcnet_jax.interop import published_files, published_name, read_torch_checkpoint
from gcnet_jax.models import Segmentor, split_for_evaluation
from gcnet_jax.pretrained import PretrainedModel, load_pretrained, saved_config
from gcnet_jax.tasks.segmentation.predictor import ImageInput, Predictor
from gcnet_jax.tasks.segmentation.result import SegmentationResult
from gcnet_jax.training import find_checkpoint


class TrainedSegmentor:
    """A network with its weights: called with an image, it returns what it sees there.

    Args:
        pretrained: the model with the weights of a checkpoint.
        config: of the run.

    Attributes:
        model: the network, an `nnx.Module` in evaluation mode, as it was loaded.
        config: of the run: its base scale and its mode of evaluation say how images go through.
        classes: names and colours of what the network tells apart, by index.
        source: the file or folder that the weights are from.
    """

    model: Segmentor
    config: ConfigDict
    classes: DatasetClasses
    source: epath.Path

    def __init__(self, pretrained: PretrainedModel, config: ConfigDict):
        self.model = pretrained.model
        self.config = config
        self.classes = pretrained.classes
        self.source = pretrained.source

    @overload
    def __call__(
        self, images: list[ImageInput] | tuple[ImageInput, ...]
    ) -> list[SegmentationResult]: ...
    @overload
    def __call__(self, images: ImageInput) -> SegmentationResult: ...
    def __call__(
        self, images: ImageInput | Sequence[ImageInput]
    ) -> SegmentationResult | list[SegmentationResult]:
        """Segments an image, or a list of images in batches.

        Args:
            images: the path of an image file, a Pillow image, or an RGB array of 8 bits `(height,
                width, 3)`; or a list of such. They may have any sizes.

        Returns:
            The result; for a list a list of results in its order.

        Raises:
            InputError: one of them is no image, or cannot be read.
        """
        if isinstance(images, list | tuple):
            return self._predictor.results(images)
        return self._predictor.results([cast(ImageInput, images)])[0]

    @functools.cached_property
    def _predictor(self) -> Predictor:
        graphdef, variables = split_for_evaluation(self.model)
        return Predictor(graphdef, variables, self.classes, self.config)

    def __repr__(self) -> str:
        return f"TrainedSegmentor({str(self.source)!r}, {self.classes.num_classes} classes)"


def load(
    source: str | os.PathLike, *, config: ConfigDict | str | os.PathLike | None = None
) -> TrainedSegmentor:
    """Loads a trained network.

    Args:
        source: the name of a published run, whose weights are fetched on first use; the folder of a
            run, of which the best checkpoint is taken; the folder of one checkpoint; or a `.pth`
            file of OpenMMLab.
        config: a config, the name of one, or the path of its file. By default a run's and a
            checkpoint's own. A `.pth` file does not say which network its arrays are of: it needs
            one, unless its content is a published file's.

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
    checkpoint, own = _locate(os.fspath(source), needs_config=config is None)
    used = as_config(config) if config is not None else own
    assert used is not None
    return TrainedSegmentor(load_pretrained(used, checkpoint), used)


def _locate(name: str, *, needs_config: bool) -> tuple[str, ConfigDict | None]:
    """What `load_pretrained` takes for a source, and the source's own config where it is needed."""
    if run := published_run(name):
        return run, load_config(find_config(name)) if needs_config else None
    path = as_path(name)
    if not path.exists():
        if name in published_files():
            config_of_published(name)  # which a backbone has not
        raise InputError(_why_nothing(name, path))
    if path.is_dir():
        folder = _checkpoint_folder(path)
        return os.fspath(folder), saved_config(folder) if needs_config else None
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


def _checkpoint_folder(path: epath.Path) -> epath.Path:
    if path.name == "checkpoints":
        raise InputError(
            f"{path} holds the checkpoints of a run; give one of its folders, or {path.parent} for "
            "the best of them"
        )
    if (path / "checkpoints").is_dir() or (path / "config.json").is_file():
        return find_checkpoint(path)
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
