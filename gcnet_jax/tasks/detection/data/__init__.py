"""Data sets of images with annotated objects, and the pipelines that turn them into batches."""

from gcnet_jax.tasks.detection.data.annotated_images import AnnotatedImages
from gcnet_jax.tasks.detection.data.annotations import Annotations, trainable
from gcnet_jax.tasks.detection.data.datasets import DATA_SETS, OFFICIAL_SETS
from gcnet_jax.tasks.detection.data.evaluation_batches import (
    EvaluationBatch,
    evaluation_batches,
    images_in_part,
)
from gcnet_jax.tasks.detection.data.object_counts import ObjectCounts
from gcnet_jax.tasks.detection.data.prepare_sets import (
    PREPARABLE,
    prepare,
    prepare_coco_json,
)
from gcnet_jax.tasks.detection.data.records import (
    LoadedExample,
    Record,
    Sample,
    annotations_of,
    decode,
)
from gcnet_jax.tasks.detection.data.run_lengths import counts_of, pixels_of
from gcnet_jax.tasks.detection.data.training_batches import (
    Batch,
    RandomTransform,
    random_samples,
    training_batches,
)
from gcnet_jax.tasks.detection.data.training_shapes import training_arrays

__all__ = [
    "DATA_SETS",
    "OFFICIAL_SETS",
    "PREPARABLE",
    "AnnotatedImages",
    "Annotations",
    "Batch",
    "EvaluationBatch",
    "LoadedExample",
    "ObjectCounts",
    "RandomTransform",
    "Record",
    "Sample",
    "annotations_of",
    "counts_of",
    "decode",
    "evaluation_batches",
    "images_in_part",
    "pixels_of",
    "prepare",
    "prepare_coco_json",
    "random_samples",
    "trainable",
    "training_arrays",
    "training_batches",
]
