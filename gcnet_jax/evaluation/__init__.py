"""Inference over a data set, metrics, and pictures."""

from gcnet_jax.evaluation.evaluator import create_evaluator
from gcnet_jax.evaluation.metrics import SegmentationMetrics, metrics_from_confusion
from gcnet_jax.evaluation.pictures import colorize, heat_overlay, label_overlay

__all__ = [
    "SegmentationMetrics",
    "colorize",
    "create_evaluator",
    "heat_overlay",
    "label_overlay",
    "metrics_from_confusion",
]
