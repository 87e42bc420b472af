"""Backbones, what builds them from a config, and models as pure functions."""

from gcnet_jax.models.factory import CONTEXT_BLOCKS, build_backbone, context_block_maker
from gcnet_jax.models.functional import functional, merge, split_for_evaluation
from gcnet_jax.models.residual_blocks import ContextPlacement
from gcnet_jax.models.resnet import ResNet
from gcnet_jax.models.weight_names import backbone_names

__all__ = [
    "CONTEXT_BLOCKS",
    "ContextPlacement",
    "ResNet",
    "backbone_names",
    "build_backbone",
    "context_block_maker",
    "functional",
    "merge",
    "split_for_evaluation",
]
