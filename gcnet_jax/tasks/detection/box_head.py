"""The box head: class scores and box offsets of each region."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, DTypeLike, Float

from gcnet_jax.nn.checks import check_compute_dtype, check_count, check_features
from gcnet_jax.nn.initialization import Normal, xavier_uniform, zeros


class BoxHead(nnx.Module):
    """Two fully connected layers and two outputs of them (mmdetection's `Shared2FCBBoxHead`).

    Args:
        in_channels: channels of the features.
        channels: of the two layers.
        num_classes: classes of objects. The logits have one channel more, the last: no object.
        bins: height and width of the features of a region.
        class_agnostic: whether all classes share one box.
        dtype: of the computation; the results are float32.
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
        bins: int = 7,
        class_agnostic: bool = False,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_count("in_channels", in_channels)
        check_count("channels", channels)
        check_count("num_classes", num_classes)
        check_count("bins", bins)
        check_compute_dtype(dtype)
        self.in_channels, self.bins = in_channels, bins
        self.flatten = FlatteningLinear(bins, in_channels, channels, dtype=dtype, rngs=rngs)

        def linear(outputs: int, kernel_init: nnx.Initializer, dtype: DTypeLike) -> nnx.Linear:
            return nnx.Linear(
                channels, outputs, kernel_init=kernel_init, bias_init=zeros, dtype=dtype, rngs=rngs
            )

        self.hidden = linear(channels, xavier_uniform(channels, channels), dtype)
        self.logits = linear(num_classes + 1, Normal(0.01), jnp.float32)
        self.deltas = linear(4 * (1 if class_agnostic else num_classes), Normal(0.001), jnp.float32)

    def __call__(
        self, x: Float[Array, "r bins bins c"]
    ) -> tuple[Float[Array, "r classes_and_none"], Float[Array, "r boxes 4"]]:
        """The logits of each region, and its encoded boxes: one for each class, or one for all.

        Args:
            x: the features of the regions.

        Raises:
            InputError: the features have another type or shape.
        """
        check_features(x, self.in_channels, spatial_axes=(2,))
        x = jax.nn.relu(self.flatten(x))
        x = jax.nn.relu(self.hidden(x))
        return self.logits(x), self.deltas(x).reshape(x.shape[0], -1, 4)


class FlatteningLinear(nnx.Module):
    """A linear layer on all positions and channels of a small square map.

    The kernel keeps the map's axes, `(bins, bins, in_channels, out_channels)`, so that nothing
    depends on an order of flattening.
    """

    def __init__(
        self, bins: int, in_channels: int, out_channels: int, *, dtype: DTypeLike, rngs: nnx.Rngs
    ):
        kernel_init = xavier_uniform(bins * bins * in_channels, out_channels)
        shape = (bins, bins, in_channels, out_channels)
        self.kernel = nnx.Param(kernel_init(rngs.params(), shape))
        self.bias = nnx.Param(zeros(rngs.params(), (out_channels,)))
        self.dtype = dtype

    def __call__(self, x: Float[Array, "r bins bins c"]) -> Float[Array, "r c_out"]:
        """The products with the kernel, plus the bias."""
        kernel, bias = self.kernel[...].astype(self.dtype), self.bias[...].astype(self.dtype)
        flat = x.astype(self.dtype).reshape(x.shape[0], -1)
        return flat @ kernel.reshape(-1, kernel.shape[-1]) + bias
