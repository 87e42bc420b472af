"""The convolution that networks are built of."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, DTypeLike, Float

from gcnet_jax.nn.checks import (
    check_compute_dtype,
    check_count,
    check_features,
    check_groups,
)
from gcnet_jax.nn.initialization import VarianceScaling, zeros
from gcnet_jax.ops import conv_general_dilated

he_normal_fan_out = VarianceScaling(2.0, "fan_out", "normal")


class Conv(nnx.Conv):
    """A 2D convolution with square kernels and PyTorch's symmetric padding.

    The padding keeps the size at stride 1, whatever the dilation. He normal fan-out initialisation,
    as mmcv gives to the convolutions of backbones and heads.

    Raises:
        InputError: a count below one, channels that do not divide into the groups, or a dtype of no
            floats.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        use_bias: bool = False,
        kernel_init: nnx.Initializer = he_normal_fan_out,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        counts = {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "kernel_size": kernel_size,
            "stride": stride,
            "dilation": dilation,
            "groups": groups,
        }
        for name, value in counts.items():
            check_count(name, value)
        check_groups(groups, in_channels, out_channels)
        check_compute_dtype(dtype)
        padding = dilation * (kernel_size - 1) // 2
        super().__init__(
            in_channels,
            out_channels,
            (kernel_size, kernel_size),
            strides=(stride, stride),
            padding=((padding, padding),) * 2,
            kernel_dilation=(dilation, dilation),
            feature_group_count=groups,
            use_bias=use_bias,
            kernel_init=kernel_init,
            bias_init=zeros,
            dtype=dtype,
            conv_general_dilated=conv_general_dilated,
            rngs=rngs,
        )

    def __call__(
        self, inputs: Float[Array, "b h w c_in"], out_sharding: Any = None
    ) -> Float[Array, "b out_h out_w c_out"]:
        """Convolves features.

        Args:
            inputs: the features.
            out_sharding: as Flax takes it.

        Raises:
            InputError: the features are no floats, or have another rank or other channels.
        """
        check_features(inputs, self.in_features, spatial_axes=(2,))
        return super().__call__(inputs, out_sharding)

    def scaled(
        self,
        x: Float[Array, "b h w c_in"],
        multiplier: Float[Array, " c_out"],
        bias: Float[Array, " c_out"],
    ) -> Float[Array, "b out_h out_w c_out"]:
        """The convolution's result times `multiplier` plus `bias`, without its own bias.

        The kernel is multiplied, not the result: compilers can add the bias where they convolve,
        and no pass over the result is left.
        """
        kernel = (self.kernel[...] * multiplier).astype(self.dtype)
        strides: Any = self.strides  # which Flax types as all that it takes
        padding: Any = self.padding
        result = conv_general_dilated(
            x.astype(self.dtype),
            kernel,
            strides,
            padding,
            rhs_dilation=self.kernel_dilation,
            feature_group_count=self.feature_group_count,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return result + bias.astype(self.dtype)
