"""The context blocks: each a choice of context modelling, transform and fusion.

| block | context modelling | transform | fusion |
| --- | --- | --- | --- |
| `GlobalContext` | one attention map, or the average | bottleneck, LayerNorm, ReLU | add |
| `NonLocal` | an attention map for each query | 1x1 convolution | add |
| `SimplifiedNonLocal` | one attention map | 1x1 convolution | add |
| `SqueezeExcite` | the average | bottleneck, ReLU | multiply |

Source: Cao et al. (2019), figures 3 and 4; see each block.
"""

from typing import Literal, get_args

import jax.numpy as jnp
from flax import nnx
from jaxtyping import DTypeLike

from gcnet_jax.errors import InputError
from gcnet_jax.nn.checks import check_choice, check_count, check_number
from gcnet_jax.nn.context.framework import ContextBlock, hard_sigmoid, sigmoid
from gcnet_jax.nn.context.modelling import (
    AttentionPooling,
    AveragePooling,
    Mode,
    PairwiseAttention,
)
from gcnet_jax.nn.context.transform import Activation, BottleneckTransform, bottleneck_width
from gcnet_jax.nn.convolution import he_normal_fan_out
from gcnet_jax.nn.initialization import Uniform, VarianceScaling, zeros

Pooling = Literal["attention", "average"]
Fusion = Literal["add", "multiply", "both"]
Gate = Literal["sigmoid", "hard_sigmoid"]

_GATES = {"sigmoid": sigmoid, "hard_sigmoid": hard_sigmoid}
_POOLINGS = {
    "attention": AttentionPooling,
    "average": lambda channels, *, dtype, rngs: AveragePooling(),
}
_DIVISOR = 8  # the bottleneck of squeeze-excitation is a multiple of it

# PyTorch's default for linear layers and convolutions: U(-1/sqrt(fan_in), 1/sqrt(fan_in)).
_torch_default = VarianceScaling(1 / 3, "fan_in", "uniform")


class GlobalContext(ContextBlock):
    """The GC block: one context for all positions, through a bottleneck, added everywhere.

    Source: Cao et al. (2019), equation 5; mmcv's `ContextBlock`, which this block equals. The last
    layer of each transform starts at zero: under addition a new block is the identity.

    Args:
        channels: channels of the features.
        ratio: width of the bottleneck relative to `channels` (1/16 in the paper's backbones, 1/4
            in the published decode heads).
        pooling: how the context vector is gathered: under an attention map, or as the average.
        fusion: how it meets the features: added, multiplied as a sigmoid gate, or first multiplied
            and then added, each with a transform of its own.
        activation: in the bottleneck, see `BottleneckTransform`; the paper's ablation has all.
        dtype: dtype of the computation; the softmax is always taken in float32.

    Raises:
        InputError: an unknown mode or dtype, or a ratio that leaves no channels.
    """

    def __init__(
        self,
        channels: int,
        *,
        ratio: float = 1 / 16,
        pooling: Pooling = "attention",
        fusion: Fusion = "add",
        activation: Activation = "layer_norm_relu",
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_choice("pooling", pooling, get_args(Pooling))
        check_choice("fusion", fusion, get_args(Fusion))
        width = bottleneck_width(channels, ratio)

        def transform() -> BottleneckTransform:
            return BottleneckTransform(
                channels,
                width,
                activation=activation,
                reduce_init=_torch_default,
                reduce_bias_init=Uniform(channels**-0.5),
                expand_init=zeros,
                dtype=dtype,
                rngs=rngs,
            )

        super().__init__(
            channels,
            pool=_POOLINGS[pooling](channels, dtype=dtype, rngs=rngs),
            multiply=transform() if fusion in ("multiply", "both") else None,
            add=transform() if fusion in ("add", "both") else None,
        )


class NonLocal(ContextBlock):
    """The non-local block: every position gathers from all others, under weights of its own.

    Source: Wang et al., "Non-local Neural Networks" (2018); mmcv's `NonLocal1d`, `NonLocal2d` and
    `NonLocal3d`, which this block equals. The last layer starts at zero: a new block is the
    identity. Memory grows with the number of positions, not with its square.

    Args:
        channels: channels of the features.
        mode: how a query and a key are weighted, see `PairwiseAttention`.
        reduction: the embeddings have `channels // reduction` channels, at least one.
        use_scale: whether the embedded Gaussian divides the scores by the square root of the
            embedding's channels; the other modes don't look at it.
        sub_sample: whether keys and values are max-pooled by two along height and width first. It
            takes two positions on each of them, of every image in a padded batch: one with less
            has no keys, and gets no numbers there.
        dtype: dtype of the computation; the softmax is always taken in float32.

    Raises:
        InputError: an unknown mode or dtype, or a count below one.
    """

    def __init__(
        self,
        channels: int,
        *,
        mode: Mode = "embedded_gaussian",
        reduction: int = 2,
        use_scale: bool = True,
        sub_sample: bool = False,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_count("reduction", reduction)
        check_count("channels", channels)
        inner = max(channels // reduction, 1)
        pool = PairwiseAttention(
            channels,
            inner,
            mode=mode,
            use_scale=use_scale,
            sub_sample=sub_sample,
            dtype=dtype,
            rngs=rngs,
        )
        add = nnx.Linear(
            inner, channels, kernel_init=zeros, bias_init=zeros, dtype=dtype, rngs=rngs
        )
        super().__init__(channels, pool=pool, add=add)


class SimplifiedNonLocal(ContextBlock):
    """The simplified non-local block: one attention map for all queries, one added vector.

    Source: Cao et al. (2019), equation 3: the value transform has moved outside the pooling, where
    it is applied to one vector instead of all positions, and there is no output transform. As in
    the equation it has no bias. It starts at zero: a new block is the identity.

    Args:
        channels: channels of the features.
        dtype: dtype of the computation; the softmax is always taken in float32.

    Raises:
        InputError: channels are no count, or a dtype of no floats.
    """

    def __init__(self, channels: int, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        check_count("channels", channels)
        super().__init__(
            channels,
            pool=AttentionPooling(channels, dtype=dtype, rngs=rngs),
            add=nnx.Linear(
                channels, channels, use_bias=False, kernel_init=zeros, dtype=dtype, rngs=rngs
            ),
        )


class SqueezeExcite(ContextBlock):
    """The SE block: a gate for each channel, from the mean over all positions.

    Source: Hu et al., "Squeeze-and-Excitation Networks" (2018); mmsegmentation's `SELayer`, which
    this block equals.

    Args:
        channels: channels of the features.
        ratio: width of the bottleneck relative to `channels`; rounded to a multiple of eight, at
            least eight.
        gate: what maps the excitation to 0..1; the hard sigmoid is clip((x + 3) / 6, 0, 1).
        dtype: dtype of the computation.

    Raises:
        InputError: an unknown gate or dtype, or a ratio that is not in 0..1.
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
        check_choice("gate", gate, get_args(Gate))
        check_number("ratio", ratio)
        if not 0 < ratio <= 1:
            raise InputError(f"ratio is {ratio}; expected more than 0 and at most 1")
        check_count("channels", channels)
        transform = BottleneckTransform(
            channels,
            _multiple_of_divisor(int(channels * ratio)),
            activation="relu",
            reduce_init=he_normal_fan_out,
            expand_init=he_normal_fan_out,
            dtype=dtype,
            rngs=rngs,
        )
        super().__init__(channels, pool=AveragePooling(), multiply=transform, gate=_GATES[gate])


def _multiple_of_divisor(value: int) -> int:
    """The nearest multiple, at least the divisor itself and not below nine tenths of `value`."""
    nearest = max(_DIVISOR, (value + _DIVISOR // 2) // _DIVISOR * _DIVISOR)
    return nearest + _DIVISOR if nearest < 0.9 * value else nearest
