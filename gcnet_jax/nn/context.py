"""The global context block: gather one vector from everywhere, transform it, add it everywhere.

Source: Cao et al., "GCNet: Non-local Networks Meet Squeeze-Excitation Networks and Beyond" (2019),
section 3.3; mmcv's `ContextBlock`. The three steps are the three parts of this file.
"""

import math
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, DTypeLike, Float

from gcnet_jax.errors import InputError

Pooling = Literal["attention", "average"]
Fusion = Literal["add", "multiply", "both"]

# PyTorch's default for linear layers and convolutions: U(-1/sqrt(fan_in), 1/sqrt(fan_in)).
_torch_default = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
_he_fan_in = nnx.initializers.variance_scaling(2.0, "fan_in", "normal")


class AttentionPooling(nnx.Module):
    """Context modelling: a weighted mean over all positions, the same for every query."""

    def __init__(self, channels: int, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        self.score = nnx.Linear(channels, 1, kernel_init=_he_fan_in, dtype=dtype, rngs=rngs)

    def weights(self, x: Float[Array, "b *spatial c"]) -> Float[Array, "b *spatial"]:
        """The attention map: non-negative, summing to one over all positions of an image."""
        scores = self.score(x)[..., 0].astype(jnp.float32)
        return jax.nn.softmax(scores, axis=tuple(range(1, scores.ndim)))

    def __call__(self, x: Float[Array, "b *spatial c"]) -> Float[Array, "b c"]:
        """The mean of `x` under the attention map."""
        batch, channels = x.shape[0], x.shape[-1]
        weights = self.weights(x).reshape(batch, -1).astype(x.dtype)
        return jnp.einsum("bn,bnc->bc", weights, x.reshape(batch, -1, channels))


class AveragePooling(nnx.Module):
    """Context modelling as squeeze-excitation does it: the plain mean over all positions."""

    def __call__(self, x: Float[Array, "b *spatial c"]) -> Float[Array, "b c"]:
        """The mean over all spatial axes."""
        return jnp.mean(x, axis=tuple(range(1, x.ndim - 1)))


class BottleneckTransform(nnx.Module):
    """Transform: 1x1 convolution, LayerNorm, ReLU, 1x1 convolution, on the pooled vector.

    The last layer starts at zero, so that under addition the block starts as the identity.
    """

    def __init__(
        self, channels: int, bottleneck: int, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs
    ):
        self.reduce = nnx.Linear(
            channels,
            bottleneck,
            kernel_init=_torch_default,
            bias_init=_uniform_bias(channels),
            dtype=dtype,
            rngs=rngs,
        )
        self.norm = nnx.LayerNorm(
            bottleneck, epsilon=1e-5, use_fast_variance=False, dtype=dtype, rngs=rngs
        )
        self.expand = nnx.Linear(
            bottleneck, channels, kernel_init=nnx.initializers.zeros, dtype=dtype, rngs=rngs
        )

    def __call__(self, context: Float[Array, "b c"]) -> Float[Array, "b c"]:
        """Transforms the context vector of each image."""
        return self.expand(jax.nn.relu(self.norm(self.reduce(context))))


class GlobalContext(nnx.Module):
    """The GC block on features with any number of spatial axes.

    Args:
        channels: channels of the features.
        ratio: width of the bottleneck relative to `channels` (1/16 in the paper's backbones, 1/4
            in the published segmentation heads).
        pooling: how the context vector is gathered: under an attention map, or as the average.
        fusion: how it meets the features: added, multiplied as a sigmoid gate, or first multiplied
            and then added, each with a transform of its own.
        dtype: dtype of the computation; the softmax is always taken in float32.

    Raises:
        InputError: an unknown mode, or a ratio that leaves no channels.
    """

    def __init__(
        self,
        channels: int,
        *,
        ratio: float = 1 / 16,
        pooling: Pooling = "attention",
        fusion: Fusion = "add",
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if pooling not in get_args(Pooling):
            raise InputError(f"pooling is {pooling!r}; expected one of {get_args(Pooling)}")
        if fusion not in get_args(Fusion):
            raise InputError(f"fusion is {fusion!r}; expected one of {get_args(Fusion)}")
        bottleneck = int(channels * ratio)
        if bottleneck < 1:
            raise InputError(f"ratio {ratio} of {channels} channels leaves none; use a larger one")

        if pooling == "attention":
            self.pool = AttentionPooling(channels, dtype=dtype, rngs=rngs)
        else:
            self.pool = AveragePooling()
        self.multiply = self.add = nnx.data(None)
        if fusion in ("multiply", "both"):
            self.multiply = BottleneckTransform(channels, bottleneck, dtype=dtype, rngs=rngs)
        if fusion in ("add", "both"):
            self.add = BottleneckTransform(channels, bottleneck, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "b *spatial c"]) -> Float[Array, "b *spatial c"]:
        """Gathers the context, transforms it and fuses it into every position."""
        context = self.pool(x)
        everywhere = (x.shape[0], *(1,) * (x.ndim - 2), x.shape[-1])
        if self.multiply is not None:
            x = x * jax.nn.sigmoid(self.multiply(context)).reshape(everywhere)
        if self.add is not None:
            x = x + self.add(context).reshape(everywhere)
        return x

    def attention(self, x: Float[Array, "b *spatial c"]) -> Float[Array, "b *spatial"]:
        """The block's attention map over the positions of each image; sums to one."""
        if isinstance(self.pool, AttentionPooling):
            return self.pool.weights(x)
        return jnp.full(x.shape[:-1], 1.0 / math.prod(x.shape[1:-1]))


def _uniform_bias(fan_in: int) -> nnx.Initializer:
    bound = fan_in**-0.5

    def init(key, shape, dtype=jnp.float32, out_sharding=None):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init
