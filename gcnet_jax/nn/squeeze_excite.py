"""The squeeze-excitation block: a gate for each channel, from the mean over all positions.

Source: Hu et al., "Squeeze-and-Excitation Networks" (2018); mmsegmentation's `SELayer`, which this
block equals.
"""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, DTypeLike, Float

from gcnet_jax.errors import InputError
from gcnet_jax.nn.convolution import he_normal_fan_out

Gate = Literal["sigmoid", "hard_sigmoid"]

_GATES = {"sigmoid": jax.nn.sigmoid, "hard_sigmoid": jax.nn.hard_sigmoid}
_DIVISOR = 8  # the bottleneck is a multiple of it


class SqueezeExcite(nnx.Module):
    """The SE block on features with any number of spatial axes.

    Args:
        channels: channels of the features.
        ratio: width of the bottleneck relative to `channels`; rounded to a multiple of eight.
        gate: what maps the excitation to 0..1; the hard sigmoid is clip((x + 3) / 6, 0, 1).
        dtype: dtype of the computation.

    Raises:
        InputError: an unknown gate.
    """

    def __init__(
        self,
        channels: int,
        *,
        ratio: float = 1 / 16,
        gate: Gate = "hard_sigmoid",
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if gate not in get_args(Gate):
            raise InputError(f"gate is {gate!r}; expected one of {get_args(Gate)}")
        bottleneck = _multiple_of_divisor(int(channels * ratio))
        self.reduce = nnx.Linear(
            channels, bottleneck, kernel_init=he_normal_fan_out, dtype=dtype, rngs=rngs
        )
        self.expand = nnx.Linear(
            bottleneck, channels, kernel_init=he_normal_fan_out, dtype=dtype, rngs=rngs
        )
        self.gate = gate

    def __call__(self, x: Float[Array, "b *spatial c"]) -> Float[Array, "b *spatial c"]:
        """Multiplies every channel by its gate."""
        squeezed = jnp.mean(x, axis=tuple(range(1, x.ndim - 1)))
        excitation = _GATES[self.gate](self.expand(jax.nn.relu(self.reduce(squeezed))))
        return x * excitation.reshape(x.shape[0], *(1,) * (x.ndim - 2), x.shape[-1])


def _multiple_of_divisor(value: int) -> int:
    """The nearest multiple, at least the divisor itself and not below nine tenths of `value`."""
    nearest = max(_DIVISOR, (value + _DIVISOR // 2) // _DIVISOR * _DIVISOR)
    return nearest + _DIVISOR if nearest < 0.9 * value else nearest
