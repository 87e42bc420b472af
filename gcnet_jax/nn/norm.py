"""Batch normalisation with PyTorch's running averages."""

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Bool, DTypeLike, Float

from gcnet_jax.nn.checks import (
    check_compute_dtype,
    check_count,
    check_features,
    check_fraction,
)
from gcnet_jax.nn.initialization import ones, zeros
from gcnet_jax.ops import zero_outside


class BatchNorm(nnx.Module):
    """Normalises each channel over the batch and all spatial axes.

    `flax.nnx.BatchNorm` differs in one point that published weights depend on: PyTorch normalises
    with the biased variance and puts the *unbiased* one into its running average. The momentum is
    PyTorch's too: the weight of the new value.

    The statistics are means over the whole array. Under `jax.jit` with a batch that is split over
    devices they are therefore statistics of the global batch. Of images that lie padded in it a
    mask leaves the padding out.

    Args:
        num_features: channels.
        momentum: weight of a batch's statistics in the running averages.
        epsilon: added to the variance.
        scale_init: of the scale.
        dtype: of the result; parameters and statistics are float32.
        rngs: of the initialisation.

    Attributes:
        frozen: whether to normalise by the running averages in training mode too, and leave them.

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
        scale_init: nnx.Initializer = ones,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_count("num_features", num_features)
        check_fraction("momentum", momentum)
        check_fraction("epsilon", epsilon)
        check_compute_dtype(dtype)
        key, shape = rngs.params(), (num_features,)
        self.scale = nnx.Param(scale_init(key, shape, jnp.float32))
        self.bias = nnx.Param(zeros(key, shape))
        self.mean = nnx.BatchStat(zeros(key, shape))
        self.var = nnx.BatchStat(ones(key, shape))
        self.momentum = momentum
        self.epsilon = epsilon
        self.dtype = dtype
        self.frozen = False
        self.use_running_average = False

    @property
    def by_running_average(self) -> bool:
        """Whether it normalises by the running averages: frozen, or in evaluation mode."""
        return self.frozen or self.use_running_average

    def __call__(
        self, x: Float[Array, "b *spatial c"], mask: Bool[Array, "b *spatial"] | None = None
    ) -> Float[Array, "b *spatial c"]:
        """Normalises `x`; in training mode, unless frozen, also moves the running averages.

        Args:
            x: the features.
            mask: the positions that a batch's statistics are of, if not all.

        Raises:
            InputError: the features are no floats, or have other channels; or the mask is not true
                or false for each position.
        """
        check_features(x, self.scale.shape[0], mask, spatial_axes=(0, 1, 2, 3))
        x = x.astype(jnp.float32)  # once: gradients of all uses are added before they are rounded
        if self.by_running_average:
            mean, variance = self.mean[...], self.var[...]
        else:
            mean, variance = self._update_statistics(x, mask)
        multiplier = lax.rsqrt(variance + self.epsilon) * self.scale[...]
        # That is (x - mean) * multiplier + bias. Whatever is subtracted at each position and made
        # up for in the bias has no derivative: so the mean's is that of the bias, not one more sum
        # over all positions.
        constant = lax.stop_gradient(mean)
        bias = self.bias[...] - (mean - constant) * multiplier
        return ((x - constant) * multiplier + bias).astype(self.dtype)

    def multiplier_and_bias(self) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
        """What to multiply each channel by and then to add, to normalise by the running averages.

        Where a linear layer lies before the normalisation, its kernel can be multiplied instead.
        """
        multiplier = lax.rsqrt(self.var[...] + self.epsilon) * self.scale[...]
        return multiplier, self.bias[...] - self.mean[...] * multiplier

    def _update_statistics(
        self, x: Float[Array, "b *spatial c"], mask: Bool[Array, "b *spatial"] | None
    ) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
        axes = tuple(range(x.ndim - 1))
        # Both sums in one pass over x. That of the squares of x alone would lose digits where the
        # mean is large beside the deviation; the running average is near enough to subtract.
        near = lax.stop_gradient(self.mean[...])
        offset = zero_outside(x - near, mask)
        if mask is None:
            count = x.size // x.shape[-1]
            bessel = count / max(count - 1, 1)
            mean_offset, mean_square = jnp.mean(offset, axes), jnp.mean(jnp.square(offset), axes)
        else:
            count = jnp.maximum(jnp.sum(mask), 1)
            bessel = count / jnp.maximum(count - 1, 1)
            mean_offset = jnp.sum(offset, axes) / count
            mean_square = jnp.sum(jnp.square(offset), axes) / count
        mean = near + mean_offset
        variance = jnp.maximum(mean_square - jnp.square(mean_offset), 0)
        unbiased = variance * bessel
        keep = 1.0 - self.momentum
        new_mean = keep * self.mean[...] + self.momentum * lax.stop_gradient(mean)
        new_var = keep * self.var[...] + self.momentum * lax.stop_gradient(unbiased)
        # To assign to [...] asks where the array lies; tracers take long to have no answer.
        self.mean.set_value(new_mean)
        self.var.set_value(new_var)
        return mean, variance
