"""Context blocks, and the three steps that they are made of."""

from gcnet_jax.nn.context.blocks import (
    GlobalContext,
    NonLocal,
    SimplifiedNonLocal,
    SqueezeExcite,
)
from gcnet_jax.nn.context.framework import ContextBlock, ContextModelling
from gcnet_jax.nn.context.modelling import AttentionPooling, AveragePooling, PairwiseAttention
from gcnet_jax.nn.context.transform import BottleneckTransform

__all__ = [
    "AttentionPooling",
    "AveragePooling",
    "BottleneckTransform",
    "ContextBlock",
    "ContextModelling",
    "GlobalContext",
    "NonLocal",
    "PairwiseAttention",
    "SimplifiedNonLocal",
    "SqueezeExcite",
]
