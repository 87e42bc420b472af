"""Reusable modules: convolution, normalisation, context blocks."""

from gcnet_jax.nn.context import GlobalContext
from gcnet_jax.nn.convolution import Conv, ConvNormAct
from gcnet_jax.nn.norm import BatchNorm

__all__ = ["BatchNorm", "Conv", "ConvNormAct", "GlobalContext"]
