"""The mask head: for each region and class the logits of its mask."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, DTypeLike, Float

from gcnet_jax.nn import Conv
from gcnet_jax.nn.checks import check_count, check_features
from gcnet_jax.nn.convolution import he_normal_fan_out
from gcnet_jax.nn.initialization import zeros


class MaskHead(nnx.Module):
    """3x3 convolutions, a doubling of the size and a 1x1 classifier (mmdetection's `FCNMaskHead`).

    Args:
        in_channels: channels of the features.
        channels: of the convolutions.
        num_classes: classes of objects.
        convolutions: how many 3x3 ones there are, at least one.
        dtype: of the computation; the logits are float32.
        rngs: of the initialisation.

    Raises:
        InputError: a count below one, or a dtype of no floats.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        num_classes: int,
        *,
        convolutions: int = 4,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_count("num_classes", num_classes)
        check_count("convolutions", convolutions)
        self.in_channels = in_channels
        self.convs = nnx.List(
            [
                Conv(
                    in_channels if index == 0 else channels,
                    channels,
                    3,
                    use_bias=True,
                    dtype=dtype,
                    rngs=rngs,
                )
                for index in range(convolutions)
            ]
        )
        self.upsample = Upsampling(channels, dtype=dtype, rngs=rngs)
        self.logits = nnx.Linear(
            channels,
            num_classes,
            kernel_init=he_normal_fan_out,
            bias_init=zeros,
            dtype=jnp.float32,
            rngs=rngs,
        )

    def __call__(self, x: Float[Array, "r h w c"]) -> Float[Array, "r out_h out_w classes"]:
        """The logits of the masks, at twice the size of the features.

        Args:
            x: the features of the regions.

        Raises:
            InputError: the features have another type or shape.
        """
        check_features(x, self.in_channels, spatial_axes=(2,))
        for conv in self.convs:
            x = jax.nn.relu(conv(x))
        # The classifier sees one position at a time: it comes before what is large is moved.
        logits = self.logits(jax.nn.relu(self.upsample(x)))
        regions, height, width, _, _, classes = logits.shape
        return logits.transpose(0, 1, 3, 2, 4, 5).reshape(regions, 2 * height, 2 * width, classes)


class Upsampling(nnx.Module):
    """A transposed convolution of 2x2 with stride 2: each position becomes four.

    The kernel is `(2, 2, in_channels, out_channels)`; its windows do not overlap.
    """

    def __init__(self, channels: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.kernel = nnx.Param(he_normal_fan_out(rngs.params(), (2, 2, channels, channels)))
        self.bias = nnx.Param(zeros(rngs.params(), (channels,)))
        self.dtype = dtype

    def __call__(self, x: Float[Array, "r h w c"]) -> Float[Array, "r h w 2 2 c_out"]:
        """The four positions that each becomes, on axes of their own behind it (rows, columns)."""
        kernel, bias = self.kernel[...].astype(self.dtype), self.bias[...].astype(self.dtype)
        return jnp.einsum("rhwc,ijcd->rhwijd", x.astype(self.dtype), kernel) + bias
