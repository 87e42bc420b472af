"""Data sets of images and labels, and the pipelines that turn them into batches."""

from gcnet_jax.tasks.segmentation.data.catalog import (
    IGNORE_LABEL,
    DatasetClasses,
    generic_palette,
)
from gcnet_jax.tasks.segmentation.data.datasets import DATA_SETS, OFFICIAL_SETS
from gcnet_jax.tasks.segmentation.data.evaluation_batches import (
    EvaluationBatch,
    ScaledImages,
    evaluation_batches,
    height_multiple,
    images_in_part,
    scaled_sizes,
)
from gcnet_jax.tasks.segmentation.data.label_counts import LabelCounts
from gcnet_jax.tasks.segmentation.data.labelled_images import LabelledImages
from gcnet_jax.tasks.segmentation.data.pictures import colorize, encode_indexed, label_overlay
from gcnet_jax.tasks.segmentation.data.prepare_sets import PREPARABLE, prepare, prepare_folder
from gcnet_jax.tasks.segmentation.data.records import Record, Sample, decode
from gcnet_jax.tasks.segmentation.data.training_batches import (
    Batch,
    RandomTransform,
    random_samples,
    training_batches,
)

__all__ = [
    "DATA_SETS",
    "IGNORE_LABEL",
    "OFFICIAL_SETS",
    "PREPARABLE",
    "Batch",
    "DatasetClasses",
    "EvaluationBatch",
    "LabelCounts",
    "LabelledImages",
    "RandomTransform",
    "Record",
    "Sample",
    "ScaledImages",
    "colorize",
    "decode",
    "encode_indexed",
    "evaluation_batches",
    "generic_palette",
    "height_multiple",
    "images_in_part",
    "label_overlay",
    "prepare",
    "prepare_folder",
    "random_samples",
    "scaled_sizes",
    "training_batches",
]
