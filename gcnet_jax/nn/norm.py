"""Batch normalisation with PyTorch's running averages."""

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, DTypeLike, Float

from gcnet_jax.nn.checks import (
    check_compute_dtype,
    check_count,
    check_features,
    check_fraction,
)


class BatchNorm(nnx.Module):
    """Normalises each channel over the batch and all spatial axes.

    `flax.nnx.BatchNorm` differs in one point that published weights depend on: PyTorch normalises
    with the biased variance and puts the *unbiased* one into its running average. The momentum is
    PyTorch's too: the weight of the new value.

    The statistics are means over the whole array. Under `jax.jit` with a batch that is split over
    devices they are therefore statistics of the global batch.

    Raises:
        InputError: no features, a momentum or an epsilon that is not in 0..1, or a dtype of no
            floats.
    """

    def __init__(
        self,
        num_features: int,
        *,
        momentum: float = 0.1,
        epsilon: float = 1e-5,
        scale_init: nnx.Initializer = nnx.initializers.ones,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_count("num_features", num_features)
        check_fraction("momentum", momentum)
        check_fraction("epsilon", epsilon)
        check_compute_dtype(dtype)
        self.scale = nnx.Param(scale_init(rngs.params(), (num_features,), jnp.float32))
        self.bias = nnx.Param(jnp.zeros((num_features,), jnp.float32))
        self.mean = nnx.BatchStat(jnp.zeros((num_features,), jnp.float32))
        self.var = nnx.BatchStat(jnp.ones((num_features,), jnp.float32))
        self.momentum = momentum
        self.epsilon = epsilon
        self.dtype = dtype
        self.use_running_average = False

    def __call__(self, x: Float[Array, "b *spatial c"]) -> Float[Array, "b *spatial c"]:
        """Normalises `x`; in training mode also moves the running averages.

        Raises:
            InputError: the features are no floats, or have other channels.
        """
        check_features(x, self.scale.shape[0], spatial_axes=(0, 1, 2, 3))
        if self.use_running_average:
            mean, variance = self.mean[...], self.var[...]
        else:
            mean, variance = self._update_statistics(x.astype(jnp.float32))
        multiplier = lax.rsqrt(variance + self.epsilon) * self.scale[...]
        normalized = (x.astype(jnp.float32) - mean) * multiplier + self.bias[...]
        return normalized.astype(self.dtype)

    def _update_statistics(
        self, x: Float[Array, "b *spatial c"]
    ) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
        axes = tuple(range(x.ndim - 1))
        mean = jnp.mean(x, axes)
        variance = jnp.mean(jnp.square(x - mean), axes)
        count = x.size // x.shape[-1]
        unbiased = variance * (count / max(count - 1, 1))
        keep = 1.0 - self.momentum
        new_mean = keep * self.mean[...] + self.momentum * lax.stop_gradient(mean)
        new_var = keep * self.var[...] + self.momentum * lax.stop_gradient(unbiased)
        # To assign to [...] asks where the array lies; tracers take long to have no answer.
        self.mean.set_value(new_mean)
        self.var.set_value(new_var)
        return mean, variance
