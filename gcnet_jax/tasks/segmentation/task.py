"""Semantic segmentation as a task: see `gcnet_jax.task.Task`."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Shaped
from ml_collections import ConfigDict

from gcnet_jax.data import TrainIterator
from gcnet_jax.errors import InputError
from gcnet_jax.parallel import InputShard, check_height
from gcnet_jax.task import LossFunction, Observer, ShownExamples, ShowPicture
from gcnet_jax.tasks.predictions import Photo, PredictionOptions, Written
from gcnet_jax.tasks.segmentation import build_model as models
from gcnet_jax.tasks.segmentation.config import BEST_METRIC, SCHEMA
from gcnet_jax.tasks.segmentation.data import (
    DatasetClasses,
    check_labels,
    dataset_classes,
    split_label_counts,
    train_iterator,
)
from gcnet_jax.tasks.segmentation.foreign_classes import classes_from_meta, classes_to_meta
from gcnet_jax.tasks.segmentation.loss import segmentation_loss
from gcnet_jax.tasks.segmentation.losses import PixelLoss
from gcnet_jax.tasks.segmentation.segmentor import Segmentor
from gcnet_jax.tasks.segmentation.split_evaluation import SplitEvaluation
from gcnet_jax.tasks.segmentation.weights import (
    OUTPUT_WEIGHTS,
    added_entries,
    export_state_dict,
    import_state_dict,
    to_torchvision,
)
from gcnet_jax.training import TrainedModel

__all__ = [
    "BEST_METRIC",
    "IMAGE_KEYS",
    "OUTPUT_WEIGHTS",
    "SCHEMA",
    "added_entries",
    "batch_shapes",
    "build_model",
    "check_split",
    "evaluation",
    "export_state_dict",
    "import_state_dict",
    "loss",
    "meaning",
    "meaning_from_foreign",
    "meaning_from_plain",
    "meaning_in_words",
    "meaning_to_foreign",
    "meaning_to_plain",
    "means_same",
    "observer",
    "predict_files",
    "random_batch",
    "result_suffixes",
    "shown_examples",
    "to_torchvision",
    "trained",
    "training_batches",
]

IMAGE_KEYS: Collection[str] = ("image", "label")
"""The entries of batches whose second axis is the height of images."""


# What the outputs mean ---------------------------------------------------------------------------


def check_split(config: ConfigDict, split: str) -> None:
    """Raises InputError unless a split is there, with labels of two classes or more."""
    check_labels(config.data.name, config.data.data_dir, split)


def meaning(config: ConfigDict) -> DatasetClasses:
    """The classes of the config's data set."""
    return dataset_classes(config.data.name, config.data.data_dir)


def meaning_to_plain(meaning: DatasetClasses) -> dict[str, Any]:
    """What a checkpoint's metadata says of the classes."""
    return {"classes": meaning.to_plain()}


def meaning_from_plain(metadata: Mapping[str, Any]) -> DatasetClasses:
    """The classes that a checkpoint's metadata names."""
    return DatasetClasses.from_plain(metadata["classes"])


def meaning_to_foreign(meaning: DatasetClasses) -> dict[str, Any]:
    """What a `.pth` file says to mmsegmentation of the classes."""
    return classes_to_meta(meaning)


def meaning_from_foreign(meta: Mapping[str, Any]) -> DatasetClasses | None:
    """The classes that a `.pth` file names, if any."""
    return classes_from_meta(meta)


def meaning_in_words(meaning: DatasetClasses) -> str:
    """How many classes there are, and which."""
    return f"{meaning.num_classes} classes: {', '.join(meaning.names)}"


def means_same(meaning: DatasetClasses, other: DatasetClasses) -> bool:
    """Whether two networks tell the same classes apart."""
    return meaning.names == other.names


# Training ----------------------------------------------------------------------------------------


def build_model(config: ConfigDict, meaning: DatasetClasses) -> Segmentor:
    """The segmentor of a config with fresh weights."""
    return models.build_model(config.model, num_classes=meaning.num_classes, seed=config.seed)


def loss(config: ConfigDict) -> LossFunction:
    """The config's losses of both heads.

    Raises:
        InputError: class weights are to come from the data set, and it is not there or was prepared
            by a version that did not count.
    """
    pixels = None
    if config.loss.class_weights_from_counts:
        data = config.data
        counts = split_label_counts(data.name, data.data_dir, data.train_split)
        if counts is None:
            raise InputError(
                f"loss.class_weights_from_counts needs the label counts of '{data.name}', which "
                "an earlier version has prepared without; prepare it again"
            )
        pixels = counts.pixels
    of_pixels = PixelLoss.from_config(config.loss, pixels)
    return segmentation_loss(config.training.auxiliary_loss_weight, of_pixels)


def training_batches(config: ConfigDict, shard: InputShard) -> TrainIterator:
    """A process's part of randomly transformed crops with their labels, see `train_iterator`."""
    return train_iterator(
        config.data,
        batch_size=config.training.batch_size,
        seed=config.seed,
        shard_index=shard.index,
        shard_count=shard.count,
    )


def batch_shapes(config: ConfigDict, mesh: Mesh) -> dict[str, Any]:
    """The shapes of a batch of crops over all processes."""
    check_height(
        config.data.crop_size[0],
        config.model.backbone.output_stride,
        mesh,
        key="data.crop_size",
    )
    images = (config.training.batch_size, *config.data.crop_size)
    return {
        "image": jax.ShapeDtypeStruct((*images, 3), np.uint8),
        "label": jax.ShapeDtypeStruct(images, np.uint8),
        "size": jax.ShapeDtypeStruct((images[0], 2), np.int32),
    }


def random_batch(
    config: ConfigDict, meaning: DatasetClasses, rng: np.random.Generator, images: int
) -> dict[str, Shaped[np.ndarray, "..."]]:
    """A batch of random pixels and labels."""
    crop = config.data.crop_size
    return {
        "image": rng.integers(0, 256, (images, *crop, 3), np.uint8),
        "label": rng.integers(0, meaning.num_classes, (images, *crop), np.uint8),
        "size": np.tile(np.array(crop, np.int32), (images, 1)),
    }


def observer(
    config: ConfigDict,
    meaning: DatasetClasses,
    workdir: epath.Path,
    shard: InputShard,
    show: ShowPicture,
) -> Observer:
    """What draws images, labels and predictions of a run."""
    from gcnet_jax.tasks.segmentation.training_pictures import TrainingPictures

    return TrainingPictures(config, meaning, workdir, shard, show)


# With weights ------------------------------------------------------------------------------------


def evaluation(
    config: ConfigDict,
    meaning: DatasetClasses,
    graphdef: nnx.GraphDef,
    mesh: Mesh,
    *,
    split: str | None = None,
    multi_scale: bool = False,
) -> SplitEvaluation:
    """A split to be sent through a segmentor and counted."""
    return SplitEvaluation(config, meaning, graphdef, mesh, split=split, multi_scale=multi_scale)


def shown_examples(
    config: ConfigDict, split: str, shard: InputShard, *, multi_scale: bool, count: int
) -> ShownExamples:
    """What picks images of an evaluation to show, and writes them."""
    from gcnet_jax.tasks.segmentation.evaluation_files import ShownSegmentations

    return ShownSegmentations(config, split, shard, multi_scale=multi_scale, count=count)


def result_suffixes(*, with_scores: bool) -> tuple[list[str], list[str]]:
    """How the names of the results of an image end, and of those of a video."""
    scores = ["_logits.npy"] if with_scores else []
    return ["_label.png", "_overlay.png", *scores], ["_overlay.mp4"]


def predict_files(
    trained: TrainedModel,
    config: ConfigDict,
    photos: Sequence[Photo],
    videos: Sequence[Photo],
    folder: epath.Path,
    options: PredictionOptions,
) -> Written:
    """Segments images and videos, and writes what comes of them."""
    from gcnet_jax.tasks.segmentation import prediction_run
    from gcnet_jax.tasks.segmentation.predictor import Predictor

    predictor = Predictor.of(trained, config)
    return prediction_run.predict_files(predictor, photos, videos, folder, options)


def trained(pretrained: Any, config: ConfigDict) -> Any:
    """A segmentor that is called with images."""
    from gcnet_jax.tasks.segmentation.trained_segmentor import TrainedSegmentor

    return TrainedSegmentor(pretrained, config)
