"""The feature pyramid: from the stages of a backbone to maps of equal channels.

Source: Lin et al., "Feature Pyramid Networks for Object Detection" (2017); mmdetection's `FPN` for
upsampling, initialisation and the additional maps.
"""

from collections.abc import Sequence
from itertools import pairwise

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, DTypeLike, Float

from gcnet_jax.errors import InputError
from gcnet_jax.nn import Conv
from gcnet_jax.nn.checks import check_count, check_features
from gcnet_jax.nn.initialization import xavier_uniform
from gcnet_jax.ops import zero_outside

Mask = Bool[Array, "b _h _w"]


class FeaturePyramid(nnx.Module):
    """Adds to each stage what the smaller ones see, without normalisation or activation.

    Args:
        in_channels: channels of each stage, the largest map first.
        out_channels: channels of every map of the result.
        num_outputs: maps of the result. Those beyond the stages take every second position of the
            map before.
        dtype: of the computation.
        rngs: of the initialisation.

    Raises:
        InputError: a count below one, or fewer outputs than stages.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int,
        *,
        num_outputs: int = 5,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_count("num_outputs", num_outputs)
        if not 1 <= len(in_channels) <= num_outputs:
            raise InputError(
                f"the pyramid has {len(in_channels)} stages and {num_outputs} outputs; expected "
                "one stage or more, and an output for each"
            )
        self.in_channels = tuple(in_channels)
        self.num_outputs = num_outputs

        def convolution(channels: int, kernel_size: int) -> Conv:
            positions = kernel_size**2
            return Conv(
                channels,
                out_channels,
                kernel_size,
                use_bias=True,
                kernel_init=xavier_uniform(channels * positions, out_channels * positions),
                dtype=dtype,
                rngs=rngs,
            )

        self.laterals = nnx.List([convolution(channels, 1) for channels in in_channels])
        self.outputs = nnx.List([convolution(out_channels, 3) for _ in in_channels])

    def __call__(
        self, features: Sequence[Float[Array, "b _h _w _c"]], masks: Sequence[Mask] | None = None
    ) -> tuple[Float[Array, "b _h _w c"], ...]:
        """The maps, the largest first, each half as high and wide as the one before, rounded up.

        Args:
            features: of the stages, zero where the masks are false.
            masks: of images that lie padded in the features, one for each stage. Each image has the
                maps that it would have alone; outside they are zero.

        Raises:
            InputError: there is not one map for each stage, their sizes do not halve, or maps or
                masks have another type or shape.
        """
        of_images: Sequence[Mask | None] = [None] * len(features) if masks is None else masks
        if not len(features) == len(of_images) == len(self.in_channels):
            raise InputError(
                f"the pyramid gets {len(features)} maps and {len(of_images)} masks; expected "
                f"{len(self.in_channels)}, one for each stage"
            )
        for x, channels, mask in zip(features, self.in_channels, of_images, strict=True):
            check_features(x, channels, mask, spatial_axes=(2,))
        for larger, smaller in pairwise(features):
            if smaller.shape[1:3] != tuple(-(-length // 2) for length in larger.shape[1:3]):
                raise InputError(
                    f"a map of {smaller.shape[1:3]} follows one of {larger.shape[1:3]}; expected "
                    "half as many positions on each axis, rounded up"
                )

        levels = [
            zero_outside(lateral(x), mask)
            for x, lateral, mask in zip(features, self.laterals, of_images, strict=True)
        ]
        for index in reversed(range(len(levels) - 1)):
            summed = levels[index] + _doubled(levels[index + 1], levels[index])
            levels[index] = zero_outside(summed, of_images[index])
        maps = [
            zero_outside(convolution(x), mask)
            for x, convolution, mask in zip(levels, self.outputs, of_images, strict=True)
        ]
        while len(maps) < self.num_outputs:
            maps.append(maps[-1][:, ::2, ::2])
        return tuple(maps)


def _doubled(x: Float[Array, "b h w c"], like: Float[Array, "b _h _w c"]) -> Array:
    """Nearest neighbours of twice the size, cut to that of `like`.

    Where `n` positions become half as many, rounded up, and those become `n` again, this is what
    PyTorch's interpolation to the exact size takes, also for an odd `n`.
    """
    batch, height, width, channels = x.shape
    repeated = jnp.broadcast_to(
        x[:, :, None, :, None], (batch, height, 2, width, 2, channels)
    ).reshape(batch, 2 * height, 2 * width, channels)
    return repeated[:, : like.shape[1], : like.shape[2]]
