"""Data sets, their classes, and the pipelines that turn them into batches."""

from gcnet_jax.data.buckets import group_into_buckets
from gcnet_jax.data.catalog import IGNORE_LABEL, DatasetClasses, generic_palette
from gcnet_jax.data.datasets import (
    OFFICIAL_SETS,
    Split,
    check_labels,
    dataset_classes,
    is_prepared,
    open_split,
    split_image_sizes,
    split_label_counts,
    split_names,
    split_size,
)
from gcnet_jax.data.evaluation_batches import (
    EvaluationBatch,
    ScaledImages,
    evaluation_batches,
    images_in_part,
    resize_image,
    scaled_sizes,
)
from gcnet_jax.data.image_files import (
    displayed_pixels,
    displayed_size,
    read_displayed_size,
    read_rgb,
)
from gcnet_jax.data.label_counts import LabelCounts
from gcnet_jax.data.pictures import colorize, encode_indexed, label_overlay
from gcnet_jax.data.pipeline import Batch, TrainIterator, train_iterator
from gcnet_jax.data.prepare_sets import prepare, prepare_folder
from gcnet_jax.data.records import Record, Sample, decode

__all__ = [
    "IGNORE_LABEL",
    "OFFICIAL_SETS",
    "Batch",
    "DatasetClasses",
    "EvaluationBatch",
    "LabelCounts",
    "Record",
    "Sample",
    "ScaledImages",
    "Split",
    "TrainIterator",
    "check_labels",
    "colorize",
    "dataset_classes",
    "decode",
    "displayed_pixels",
    "displayed_size",
    "encode_indexed",
    "evaluation_batches",
    "generic_palette",
    "group_into_buckets",
    "images_in_part",
    "is_prepared",
    "label_overlay",
    "open_split",
    "prepare",
    "prepare_folder",
    "read_displayed_size",
    "read_rgb",
    "resize_image",
    "scaled_sizes",
    "split_image_sizes",
    "split_label_counts",
    "split_names",
    "split_size",
    "train_iterator",
]
