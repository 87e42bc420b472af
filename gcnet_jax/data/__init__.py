"""Data sets, their classes, and the pipelines that turn them into batches."""

from gcnet_jax.data.catalog import IGNORE_LABEL, DatasetClasses, generic_palette
from gcnet_jax.data.datasets import (
    OFFICIAL_SETS,
    Split,
    dataset_classes,
    open_split,
    prepare,
    prepare_folder,
    split_image_sizes,
    split_names,
    split_size,
)
from gcnet_jax.data.evaluation_batches import (
    EvaluationBatch,
    ScaledImages,
    evaluation_batches,
    resize_image,
    scaled_sizes,
)
from gcnet_jax.data.pipeline import Batch, TrainIterator, train_iterator
from gcnet_jax.data.records import PIXELS, Pixels, Record, Sample, decode

__all__ = [
    "IGNORE_LABEL",
    "OFFICIAL_SETS",
    "PIXELS",
    "Batch",
    "DatasetClasses",
    "EvaluationBatch",
    "Pixels",
    "Record",
    "Sample",
    "ScaledImages",
    "Split",
    "TrainIterator",
    "dataset_classes",
    "decode",
    "evaluation_batches",
    "generic_palette",
    "open_split",
    "prepare",
    "prepare_folder",
    "resize_image",
    "scaled_sizes",
    "split_image_sizes",
    "split_names",
    "split_size",
    "train_iterator",
]
