"""Reusable modules: convolutions, normalisation, context blocks."""

from gcnet_jax.nn.context import (
    AttentionPooling,
    AveragePooling,
    BottleneckTransform,
    ContextBlock,
    GlobalContext,
    NonLocal,
    PairwiseAttention,
    SimplifiedNonLocal,
    SqueezeExcite,
)
from gcnet_jax.nn.conv_norm_act import ConvNormAct
from gcnet_jax.nn.convolution import Conv
from gcnet_jax.nn.deformable import DeformableConv
from gcnet_jax.nn.norm import BatchNorm

__all__ = [
    "AttentionPooling",
    "AveragePooling",
    "BatchNorm",
    "BottleneckTransform",
    "ContextBlock",
    "Conv",
    "ConvNormAct",
    "DeformableConv",
    "GlobalContext",
    "NonLocal",
    "PairwiseAttention",
    "SimplifiedNonLocal",
    "SqueezeExcite",
]
