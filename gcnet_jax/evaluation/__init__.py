"""Inference over a data set, metrics, and pictures."""

from gcnet_jax.evaluation.evaluator import create_evaluator, evaluate_singly
from gcnet_jax.evaluation.inference import (
    Predictor,
    create_multi_scale_predictor,
    create_predictor,
    infer,
    resize_image,
    sliding_windows,
)
from gcnet_jax.evaluation.metrics import SegmentationMetrics, metrics_from_confusion
from gcnet_jax.evaluation.pictures import colorize, heat_overlay, label_overlay

__all__ = [
    "Predictor",
    "SegmentationMetrics",
    "colorize",
    "create_evaluator",
    "create_multi_scale_predictor",
    "create_predictor",
    "evaluate_singly",
    "heat_overlay",
    "infer",
    "label_overlay",
    "metrics_from_confusion",
    "resize_image",
    "sliding_windows",
]
