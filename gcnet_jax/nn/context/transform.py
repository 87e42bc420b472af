"""Transform, the second step: what becomes of the context before it meets the features."""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, DTypeLike, Float

from gcnet_jax.errors import InputError
from gcnet_jax.nn.checks import check_choice, check_compute_dtype, check_count, check_number
from gcnet_jax.nn.initialization import ones, zeros

Activation = Literal["layer_norm_relu", "relu", "none"]


class BottleneckTransform(nnx.Module):
    """Two 1x1 convolutions with a narrow middle, and what lies between them.

    Args:
        channels: channels of the context and of the result.
        width: channels in the middle.
        activation: between the two: `layer_norm_relu` as in the GC block, `relu` as in
            squeeze-excitation, or `none`.
        reduce_init: of the first kernel.
        reduce_bias_init: of the first bias.
        expand_init: of the second kernel; its bias starts at zero.
        dtype: dtype of the computation.

    Raises:
        InputError: an unknown activation, a count below one, or a dtype of no floats.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        *,
        activation: Activation,
        reduce_init: nnx.Initializer,
        reduce_bias_init: nnx.Initializer = zeros,
        expand_init: nnx.Initializer,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_count("channels", channels)
        check_count("width", width)
        check_choice("activation", activation, get_args(Activation))
        check_compute_dtype(dtype)
        self.reduce = nnx.Linear(
            channels,
            width,
            kernel_init=reduce_init,
            bias_init=reduce_bias_init,
            dtype=dtype,
            rngs=rngs,
        )
        self.norm = nnx.data(None)
        if activation == "layer_norm_relu":
            self.norm = nnx.LayerNorm(
                width,
                epsilon=1e-5,
                use_fast_variance=False,
                scale_init=ones,
                bias_init=zeros,
                dtype=dtype,
                rngs=rngs,
            )
        self.activation = activation
        self.expand = nnx.Linear(
            width, channels, kernel_init=expand_init, bias_init=zeros, dtype=dtype, rngs=rngs
        )

    def __call__(self, context: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        """Transforms each context vector."""
        narrow = self.reduce(context)
        if self.norm is not None:
            narrow = self.norm(narrow)
        if self.activation != "none":
            narrow = jax.nn.relu(narrow)
        return self.expand(narrow)


def bottleneck_width(channels: int, ratio: float) -> int:
    """The channels that `ratio` leaves of `channels`.

    Raises:
        InputError: none are left, or more than there were; or one of them is no number.
    """
    check_count("channels", channels)
    check_number("ratio", ratio)
    if not 1 / channels <= ratio <= 1:
        raise InputError(
            f"ratio {ratio} of {channels} channels; expected one that leaves some, from "
            f"1/{channels} to 1"
        )
    return max(int(channels * ratio), 1)  # 49 * (1 / 49) is a little less than 1
