"""Inference over a data set, metrics, and pictures."""

from gcnet_jax.tasks.segmentation.data import colorize, label_overlay
from gcnet_jax.tasks.segmentation.evaluation.evaluator import (
    Counts,
    PixelCounter,
    Predicted,
    confusion_of,
    create_counter,
)
from gcnet_jax.tasks.segmentation.evaluation.inference import (
    ExportedInference,
    Inference,
    Logits,
    NetworkInference,
)
from gcnet_jax.tasks.segmentation.evaluation.inference_modes import (
    InferenceMode,
    LogitsGrid,
    SlidingWindows,
    WholeImages,
    inference_mode,
)
from gcnet_jax.tasks.segmentation.evaluation.metrics import (
    SegmentationMetrics,
    metrics_from_confusion,
)
from gcnet_jax.tasks.segmentation.evaluation.pixel_scores import View, create_view, score_pixels
from gcnet_jax.tasks.segmentation.evaluation.tiles import TILE, create_tile_scorer, tile_starts

__all__ = [
    "TILE",
    "Counts",
    "ExportedInference",
    "Inference",
    "InferenceMode",
    "Logits",
    "LogitsGrid",
    "NetworkInference",
    "PixelCounter",
    "Predicted",
    "SegmentationMetrics",
    "SlidingWindows",
    "View",
    "WholeImages",
    "colorize",
    "confusion_of",
    "create_counter",
    "create_tile_scorer",
    "create_view",
    "inference_mode",
    "label_overlay",
    "metrics_from_confusion",
    "score_pixels",
    "tile_starts",
]
