"""Classification of images as a task: see `gcnet_jax.task.Task`."""

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
from gcnet_jax.tasks.classification import classifier
from gcnet_jax.tasks.classification.config import BEST_METRIC, SCHEMA
from gcnet_jax.tasks.classification.data import (
    ImageClasses,
    check_labels,
    dataset_classes,
    train_iterator,
)
from gcnet_jax.tasks.classification.loss import classification_loss
from gcnet_jax.tasks.classification.split_evaluation import SplitEvaluation
from gcnet_jax.tasks.classification.weights import (
    OUTPUT_WEIGHTS,
    added_entries,
    export_state_dict,
    import_state_dict,
    to_torchvision,
)
from gcnet_jax.tasks.predictions import Photo, PredictionOptions, Written
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

IMAGE_KEYS: Collection[str] = ("image",)
"""The entries of batches whose second axis is the height of images."""

_MOST_NAMED = 20  # classes in a line


# What the outputs mean ---------------------------------------------------------------------------


def check_split(config: ConfigDict, split: str) -> None:
    """Raises InputError unless a split is there, with images of two classes or more."""
    check_labels(config.data.name, config.data.data_dir, split)


def meaning(config: ConfigDict) -> ImageClasses:
    """The classes of the config's data set."""
    return dataset_classes(config.data.name, config.data.data_dir)


def meaning_to_plain(meaning: ImageClasses) -> dict[str, Any]:
    """What a checkpoint's metadata says of the classes."""
    return {"classes": meaning.to_plain()}


def meaning_from_plain(metadata: Mapping[str, Any]) -> ImageClasses:
    """The classes that a checkpoint's metadata names."""
    return ImageClasses.from_plain(metadata["classes"])


def meaning_to_foreign(meaning: ImageClasses) -> dict[str, Any]:
    """What a `.pth` file says to mmpretrain of the classes."""
    return {"dataset_meta": {"classes": list(meaning.names)}, "CLASSES": list(meaning.names)}


def meaning_from_foreign(meta: Mapping[str, Any]) -> ImageClasses | None:
    """The classes that a `.pth` file names, if any."""
    described = meta.get("dataset_meta")
    places = [described, meta] if isinstance(described, dict) else [meta]
    names = next((d[k] for d in places for k in ("classes", "CLASSES") if d.get(k)), None)
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        return None
    return ImageClasses(tuple(names))


def meaning_in_words(meaning: ImageClasses) -> str:
    """How many classes there are, and which, as far as they fit a line."""
    more = ", ..." if meaning.num_classes > _MOST_NAMED else ""
    return f"{meaning.num_classes} classes: {', '.join(meaning.names[:_MOST_NAMED])}{more}"


def means_same(meaning: ImageClasses, other: ImageClasses) -> bool:
    """Whether two networks tell the same classes apart."""
    return meaning.names == other.names


# Training ----------------------------------------------------------------------------------------


def build_model(config: ConfigDict, meaning: ImageClasses) -> classifier.Classifier:
    """The classifier of a config with fresh weights."""
    return classifier.build_model(config.model, num_classes=meaning.num_classes, seed=config.seed)


def loss(config: ConfigDict) -> LossFunction:
    """Cross-entropy with label smoothing."""
    return classification_loss(config.training.label_smoothing)


def training_batches(config: ConfigDict, shard: InputShard) -> TrainIterator:
    """A process's part of randomly cropped images with their classes, see `train_iterator`."""
    return train_iterator(
        config.data,
        batch_size=config.training.batch_size,
        seed=config.seed,
        shard_index=shard.index,
        shard_count=shard.count,
    )


def batch_shapes(config: ConfigDict, mesh: Mesh) -> dict[str, Any]:
    """The shapes of a batch of crops over all processes."""
    size, images = config.data.crop_size, config.training.batch_size
    check_height(size, config.model.backbone.output_stride, mesh, key="data.crop_size")
    return {
        "image": jax.ShapeDtypeStruct((images, size, size, 3), np.uint8),
        "label": jax.ShapeDtypeStruct((images,), np.int32),
    }


def random_batch(
    config: ConfigDict, meaning: ImageClasses, rng: np.random.Generator, images: int
) -> dict[str, Shaped[np.ndarray, "..."]]:
    """A batch of random pixels and classes."""
    size = config.data.crop_size
    return {
        "image": rng.integers(0, 256, (images, size, size, 3), np.uint8),
        "label": rng.integers(0, meaning.num_classes, images, np.int32),
    }


def observer(
    config: ConfigDict,
    meaning: ImageClasses,
    workdir: epath.Path,
    shard: InputShard,
    show: ShowPicture,
) -> Observer:
    """What draws images of a run with their classes and what is found."""
    from gcnet_jax.tasks.classification.pictures import TrainingPictures

    return TrainingPictures(config, meaning, workdir, shard, show)


# With weights ------------------------------------------------------------------------------------


def evaluation(
    config: ConfigDict,
    meaning: ImageClasses,
    graphdef: nnx.GraphDef,
    mesh: Mesh,
    *,
    split: str | None = None,
    multi_scale: bool = False,
) -> SplitEvaluation:
    """A split to be sent through a classifier and counted."""
    if multi_scale:
        raise InputError("images are classified at one scale; there is no multi-scale evaluation")
    return SplitEvaluation(config, meaning, graphdef, mesh, split=split)


def shown_examples(
    config: ConfigDict, split: str, shard: InputShard, *, multi_scale: bool, count: int
) -> ShownExamples:
    """What picks images of an evaluation to show, and writes them."""
    from gcnet_jax.tasks.classification import pictures

    del multi_scale  # of which there is none
    return pictures.ShownExamples(config, split, shard, count=count)


def result_suffixes(*, with_scores: bool) -> tuple[list[str], list[str]]:
    """How the names of the results of an image end; of videos there are none."""
    scores = ["_probabilities.npy"] if with_scores else []
    return ["_classes.json", "_overlay.png", *scores], []


def predict_files(
    trained: TrainedModel,
    config: ConfigDict,
    photos: Sequence[Photo],
    videos: Sequence[Photo],
    folder: epath.Path,
    options: PredictionOptions,
) -> Written:
    """Classifies image files, and writes what comes of them."""
    from gcnet_jax.tasks.classification.prediction_run import predict_photos

    assert not videos
    return predict_photos(trained, config, photos, folder, options)


def trained(pretrained: Any, config: ConfigDict) -> Any:
    """A classifier that is called with images."""
    from gcnet_jax.tasks.classification.trained_classifier import TrainedClassifier

    return TrainedClassifier(pretrained, config)
