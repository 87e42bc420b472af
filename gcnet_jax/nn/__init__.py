"""Reusable modules: convolution, normalisation, context blocks."""

from gcnet_jax.nn.context import GlobalContext
from gcnet_jax.nn.convolution import Conv, ConvNormAct
from gcnet_jax.nn.non_local import NonLocal
from gcnet_jax.nn.norm import BatchNorm
from gcnet_jax.nn.squeeze_excite import SqueezeExcite

__all__ = ["BatchNorm", "Conv", "ConvNormAct", "GlobalContext", "NonLocal", "SqueezeExcite"]
