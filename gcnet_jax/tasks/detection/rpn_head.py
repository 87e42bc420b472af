"""The head of the region proposal network: objectness and box offsets of each anchor."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, DTypeLike, Float

from gcnet_jax.nn import Conv
from gcnet_jax.nn.checks import check_count, check_features
from gcnet_jax.nn.initialization import Normal


class RPNHead(nnx.Module):
    """A 3x3 convolution and two 1x1 ones, for all maps of a pyramid (mmdetection's `RPNHead`).

    Args:
        in_channels: channels of the maps.
        channels: of the 3x3 convolution.
        anchors_per_position: anchors at each position.
        dtype: of the computation; logits and offsets are float32.
        rngs: of the initialisation.

    Raises:
        InputError: a count below one, or a dtype of no floats.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        anchors_per_position: int = 3,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_count("anchors_per_position", anchors_per_position)
        self.in_channels = in_channels
        self.conv = Conv(
            in_channels,
            channels,
            3,
            use_bias=True,
            kernel_init=Normal(0.01),
            dtype=dtype,
            rngs=rngs,
        )

        def output(values: int) -> Conv:
            return Conv(
                channels,
                anchors_per_position * values,
                1,
                use_bias=True,
                kernel_init=Normal(0.01),
                dtype=jnp.float32,
                rngs=rngs,
            )

        self.logits, self.deltas = output(1), output(4)

    def __call__(
        self, x: Float[Array, "b h w c"]
    ) -> tuple[Float[Array, "b h w a"], Float[Array, "b h w a 4"]]:
        """The logits of objectness and the encoded boxes of each anchor at each position.

        Args:
            x: one map of the pyramid. Images that lie padded in it, with zeros around, have the
                results that they would have alone; outside they mean nothing.

        Raises:
            InputError: the map has another type or shape.
        """
        check_features(x, self.in_channels, spatial_axes=(2,))
        x = jax.nn.relu(self.conv(x))
        deltas = self.deltas(x)
        return self.logits(x), deltas.reshape(*deltas.shape[:-1], -1, 4)
