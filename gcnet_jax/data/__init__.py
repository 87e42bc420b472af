"""Data sets, their classes, and the pipelines that turn them into batches."""

from gcnet_jax.data.catalog import (
    IGNORE_LABEL,
    DatasetClasses,
    dataset_classes,
    generic_palette,
)
from gcnet_jax.data.datasets import Split, open_split, prepare, split_names, split_size
from gcnet_jax.data.pipeline import Batch, TrainIterator, evaluation_batches, train_iterator
from gcnet_jax.data.records import Record, Sample, decode

__all__ = [
    "IGNORE_LABEL",
    "Batch",
    "DatasetClasses",
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
    "split_names",
    "split_size",
    "train_iterator",
]
