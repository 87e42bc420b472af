"""Backbones, heads, segmentors, and the factory that builds them from a config."""

from gcnet_jax.models.factory import (
    CONTEXT_BLOCKS,
    build_model,
    create_model,
    functional,
    merge,
    model_config,
    split_for_evaluation,
)
from gcnet_jax.models.heads import FCNHead
from gcnet_jax.models.resnet import ContextPlacement, ResNet
from gcnet_jax.models.segmentor import HeadLogits, Segmentor

__all__ = [
    "CONTEXT_BLOCKS",
    "ContextPlacement",
    "FCNHead",
    "HeadLogits",
    "ResNet",
    "Segmentor",
    "build_model",
    "create_model",
    "functional",
    "merge",
    "model_config",
    "split_for_evaluation",
]
