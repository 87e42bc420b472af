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
from gcnet_jax.data.pipeline import Batch, TrainIterator, evaluation_batches, train_iterator
from gcnet_jax.data.records import PIXELS, Pixels, Record, Sample, decode

__all__ = [
    "IGNORE_LABEL",
    "OFFICIAL_SETS",
    "PIXELS",
    "Batch",
    "DatasetClasses",
    "Pixels",
    "Record",
    "Sample",
    "Split",
    "TrainIterator",
    "dataset_classes",
    "decode",
    "evaluation_batches",
    "generic_palette",
    "open_split",
    "prepare",
    "prepare_folder",
    "split_image_sizes",
    "split_names",
    "split_size",
    "train_iterator",
]
