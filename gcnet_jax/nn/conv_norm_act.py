"""A convolution with what usually follows it."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, DTypeLike, Float

from gcnet_jax.nn.checks import check_choice, check_features
from gcnet_jax.nn.convolution import Conv
from gcnet_jax.nn.deformable import DeformableConv
from gcnet_jax.nn.initialization import ones
from gcnet_jax.nn.norm import BatchNorm
from gcnet_jax.ops import strided, zero_outside


class ConvNormAct(nnx.Module):
    """Convolution, batch normalisation and, unless switched off, ReLU.

    Args:
        in_channels: channels of the features.
        out_channels: of the result.
        kernel_size: height and width of the kernel.
        stride: of the convolution.
        dilation: of the convolution.
        groups: of the convolution.
        deformable: whether the convolution, a 3x3 one, is a `DeformableConv`.
        activate: whether a ReLU follows.
        norm_scale_init: of the normalisation's scale.
        dtype: of the computation.
        rngs: of the initialisation.

    Raises:
        InputError: a count below one, channels that do not divide into the groups, a dtype of no
            floats, or a deformable kernel that is not 3x3.
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
        deformable: bool = False,
        activate: bool = True,
        norm_scale_init: nnx.Initializer = ones,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if deformable:
            check_choice("the kernel_size of a deformable convolution", kernel_size, (3,))
        self.conv = (DeformableConv if deformable else partial(Conv, kernel_size=kernel_size))(
            in_channels,
            out_channels,
            stride=stride,
            dilation=dilation,
            groups=groups,
            dtype=dtype,
            rngs=rngs,
        )
        self.norm = BatchNorm(out_channels, scale_init=norm_scale_init, dtype=dtype, rngs=rngs)
        self.activate = activate
        self.stride = stride

    def __call__(
        self, x: Float[Array, "b h w c_in"], mask: Bool[Array, "b h w"] | None = None
    ) -> Float[Array, "b out_h out_w c_out"]:
        """Applies the three in turn.

        Args:
            x: features, zero where the mask is false.
            mask: of images that lie padded in `x`; the result is zero outside them, and a batch's
                statistics are of what is inside.

        Raises:
            InputError: features or mask have another type or shape.
        """
        check_features(x, self.conv.in_features, mask, spatial_axes=(2,))
        mask = strided(mask, self.stride)
        if self.norm.by_running_average:
            x = self.conv.scaled(x, *self.norm.multiplier_and_bias())
        else:
            x = self.norm(self.conv(x), mask)
        return zero_outside(jax.nn.relu(x) if self.activate else x, mask)
