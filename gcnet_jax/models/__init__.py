"""Backbones and necks, what builds them from a config, and models as pure functions."""

from gcnet_jax.models.block_inputs import BlockInput, context_blocks, record_block_inputs
from gcnet_jax.models.factory import CONTEXT_BLOCKS, build_backbone, context_block_maker
from gcnet_jax.models.fpn import FeaturePyramid
from gcnet_jax.models.functional import functional, merge, split_for_evaluation
from gcnet_jax.models.residual_blocks import ContextPlacement
from gcnet_jax.models.resnet import ResNet, frozen_parameters
from gcnet_jax.models.weight_names import FEATURE_PYRAMID, backbone_names

__all__ = [
    "CONTEXT_BLOCKS",
    "FEATURE_PYRAMID",
    "BlockInput",
    "ContextPlacement",
    "FeaturePyramid",
    "ResNet",
    "backbone_names",
    "build_backbone",
    "context_block_maker",
    "context_blocks",
    "frozen_parameters",
    "functional",
    "merge",
    "record_block_inputs",
    "split_for_evaluation",
]
