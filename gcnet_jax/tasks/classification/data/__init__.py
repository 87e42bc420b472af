"""Data sets of images with a class each, and the pipelines that turn them into batches."""

from gcnet_jax.tasks.classification.data.class_counts import ClassCounts
from gcnet_jax.tasks.classification.data.classes import ImageClasses
from gcnet_jax.tasks.classification.data.classified_images import ClassifiedImages
from gcnet_jax.tasks.classification.data.datasets import DATA_SETS, OFFICIAL_SETS
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
from gcnet_jax.tasks.classification.data.training_batches import (
    Batch,
    RandomTransform,
    random_samples,
    training_batches,
)
from gcnet_jax.tasks.classification.data.transforms import evaluation_crop, evaluation_window

__all__ = [
    "DATA_SETS",
    "OFFICIAL_SETS",
    "PREPARABLE",
    "Batch",
    "ClassCounts",
    "ClassifiedImages",
    "EvaluationBatch",
    "ImageClasses",
    "RandomTransform",
    "Record",
    "Sample",
    "decode",
    "evaluation_batches",
    "evaluation_crop",
    "evaluation_window",
    "images_in_part",
    "prepare",
    "prepare_class_folders",
    "random_samples",
    "training_batches",
]
