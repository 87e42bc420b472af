"""Data sets of images with a class each, and the pipelines that turn them into batches."""

from gcnet_jax.tasks.classification.data.class_counts import ClassCounts
from gcnet_jax.tasks.classification.data.classes import ImageClasses
from gcnet_jax.tasks.classification.data.classified_images import ClassifiedImages
from gcnet_jax.tasks.classification.data.datasets import (
    OFFICIAL_SETS,
    check_labels,
    dataset_classes,
    open_split,
    split_class_counts,
    split_names,
    split_size,
)
from gcnet_jax.tasks.classification.data.evaluation_batches import (
    EvaluationBatch,
    evaluation_batches,
    images_in_part,
)
from gcnet_jax.tasks.classification.data.prepare_sets import (
    PREPARABLE,
    prepare,
    prepare_class_folders,
)
from gcnet_jax.tasks.classification.data.records import Record, Sample, decode
from gcnet_jax.tasks.classification.data.training_batches import Batch, train_iterator
from gcnet_jax.tasks.classification.data.transforms import evaluation_crop

__all__ = [
    "OFFICIAL_SETS",
    "PREPARABLE",
    "Batch",
    "ClassCounts",
    "ClassifiedImages",
    "EvaluationBatch",
    "ImageClasses",
    "Record",
    "Sample",
    "check_labels",
    "dataset_classes",
    "decode",
    "evaluation_batches",
    "evaluation_crop",
    "images_in_part",
    "open_split",
    "prepare",
    "prepare_class_folders",
    "split_class_counts",
    "split_names",
    "split_size",
    "train_iterator",
]
