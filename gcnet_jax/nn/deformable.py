"""Deformable convolution: each position looks where an offset of its own points it to.

Source: Dai et al., "Deformable Convolutional Networks" (2017); mmcv's `DeformConv2dPack` (`DCN`).
"""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, DTypeLike, Float

from gcnet_jax.nn.checks import check_compute_dtype, check_features, check_groups
from gcnet_jax.nn.convolution import Conv
from gcnet_jax.nn.initialization import VarianceScaling, zeros
from gcnet_jax.ops.deformable_convolution import deformable_convolution

_KERNEL_SIZE = 3


class DeformableConv(nnx.Module):
    """A 3x3 convolution without bias whose nine taps are moved by what another one computes.

    The offsets come from a convolution of the same stride and dilation, which starts at zero: at
    first nothing is moved. Features are bilinearly interpolated, and zero beyond the border: of
    images that lie padded in them, zero around, each gets what it would have alone.

    Args:
        in_channels: channels of the features.
        out_channels: of the result.
        stride: of both convolutions.
        dilation: of both convolutions.
        groups: of the moved one.
        dtype: of the computation; offsets are float32 at least.
        rngs: of the initialisation.

    Raises:
        InputError: a count below one, channels that do not divide into the groups, or a dtype of no
            floats.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_compute_dtype(dtype)
        self.offset = Conv(
            in_channels,
            2 * _KERNEL_SIZE**2,
            _KERNEL_SIZE,
            stride=stride,
            dilation=dilation,
            use_bias=True,
            kernel_init=zeros,
            # A narrow type has no fractions of positions left, some positions away.
            dtype=jnp.promote_types(dtype, jnp.float32),
            rngs=rngs,
        )
        check_groups(groups, in_channels, out_channels)
        shape = (_KERNEL_SIZE, _KERNEL_SIZE, in_channels // groups, out_channels)
        kernel_init = VarianceScaling(2.0, "fan_in", "uniform")
        self.kernel = nnx.Param(kernel_init(rngs.params(), shape))
        self.in_features = in_channels
        self.stride, self.dilation, self.groups = stride, dilation, groups
        self.dtype = dtype

    def __call__(self, x: Float[Array, "b h w c_in"]) -> Float[Array, "b out_h out_w c_out"]:
        """Convolves features.

        Raises:
            InputError: the features are no floats, or have another rank or other channels.
        """
        check_features(x, self.in_features, spatial_axes=(2,))
        return self._convolve(x, self.kernel[...])

    def scaled(
        self,
        x: Float[Array, "b h w c_in"],
        multiplier: Float[Array, " c_out"],
        bias: Float[Array, " c_out"],
    ) -> Float[Array, "b out_h out_w c_out"]:
        """The convolution's result times `multiplier` plus `bias`."""
        return self._convolve(x, self.kernel[...] * multiplier) + bias.astype(self.dtype)

    def _convolve(
        self, x: Float[Array, "b h w c_in"], kernel: Float[Array, "3 3 c_group c_out"]
    ) -> Float[Array, "b out_h out_w c_out"]:
        return deformable_convolution(
            x.astype(self.dtype),
            self.offset(x),
            kernel.astype(self.dtype),
            stride=self.stride,
            dilation=self.dilation,
            padding=self.dilation,
            groups=self.groups,
        )
