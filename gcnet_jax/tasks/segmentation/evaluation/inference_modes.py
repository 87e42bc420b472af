"""Modes of inference: the network sees an image whole, or one window after the other.

Source: mmsegmentation's `EncoderDecoder.whole_inference` and `slide_inference`.
"""

import dataclasses
from typing import Protocol

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Integer
from ml_collections import ConfigDict

from gcnet_jax.errors import InputError
from gcnet_jax.ops import interpolation_matrix
from gcnet_jax.parallel import over_all_devices
from gcnet_jax.tasks.segmentation.segmentor import Segmentor


class LogitsGrid(Protocol):
    """Where a segmentor's logits lie on an image; a `Segmentor` says it of its own."""

    @property
    def align_corners(self) -> bool: ...  # noqa: D102

    @property
    def decode_stride(self) -> int: ...  # noqa: D102

    def decoded_length(self, length: Integer[Array, "*b"]) -> Integer[Array, "*b"]: ...  # noqa: D102


class InferenceMode(Protocol):
    """A way to show an image to the network: whole, or in windows."""

    def decode(
        self,
        model: Segmentor,
        images: Float[Array, "b h w 3"],
        sizes: Integer[Array, "b 2"],
        mesh: Mesh | None = None,
    ) -> Float[Array, "b out_h out_w classes"]:
        """The logits of all that the network sees.

        Args:
            model: in evaluation mode.
            images: normalised RGB, zero outside.
            sizes: (height, width) of each image, at the top left of its array.
            mesh: that `images` are split over, if any.
        """
        ...

    def to_pixels(
        self, grid: LogitsGrid, lengths: Integer[Array, " b"], bucket: int, axis: int
    ) -> Float[Array, "b bucket positions"]:
        """The linear map from those logits to the pixels of an axis.

        Args:
            grid: where the logits lie.
            lengths: pixels of each image along the axis.
            bucket: pixels of the array.
            axis: 0 for the height, 1 for the width.
        """
        ...


class WholeImages:
    """The network sees the image as a whole."""

    def decode(
        self,
        model: Segmentor,
        images: Float[Array, "b h w 3"],
        sizes: Integer[Array, "b 2"],
        mesh: Mesh | None = None,
    ) -> Float[Array, "b out_h out_w classes"]:
        """The logits of whole images, see `InferenceMode.decode`."""
        del mesh
        return model.decode(images, sizes)

    def to_pixels(
        self, grid: LogitsGrid, lengths: Integer[Array, " b"], bucket: int, axis: int
    ) -> Float[Array, "b bucket positions"]:
        """The linear map from logits to the pixels of an axis, see `InferenceMode.to_pixels`."""
        del axis
        return _upsampling(grid, lengths, bucket)


@dataclasses.dataclass(frozen=True)
class SlidingWindows:
    """The network sees windows in which each pixel lies at least once; their logits are averaged.

    Windows at the lower and right border are moved inwards; an image smaller than a window along an
    axis is one window there.

    Attributes:
        window: (height, width) in pixels.
        stride: from one window to the next, down and to the right.
        at_once: windows of each image that go through the network together; 0 for all.

    Raises:
        InputError: the stride is not positive or larger than the window, which would leave gaps.
    """

    window: tuple[int, int]
    stride: tuple[int, int]
    at_once: int = 0

    def __post_init__(self) -> None:
        if any(
            not 0 < step <= extent for step, extent in zip(self.stride, self.window, strict=True)
        ):
            raise InputError(
                f"window stride {self.stride} must be from 1 to the window {self.window}"
            )

    def decode(
        self,
        model: Segmentor,
        images: Float[Array, "b h w 3"],
        sizes: Integer[Array, "b 2"],
        mesh: Mesh | None = None,
    ) -> Float[Array, "b out_h out_w classes"]:
        """The logits of all windows, side by side in a grid; see `InferenceMode`."""
        bucket = (images.shape[1], images.shape[2])
        tops, lefts = (self._starts(sizes[:, axis], bucket[axis], axis) for axis in (0, 1))
        extents = tuple(min(self.window[axis], bucket[axis]) for axis in (0, 1))
        window_sizes = jnp.minimum(sizes, jnp.array(self.window))
        batch, rows, columns = images.shape[0], tops.shape[1], lefts.shape[1]
        at_once = min(self.at_once or rows * columns, rows * columns)

        def cut(image: Float[Array, "h w 3"], top: Array, left: Array) -> Float[Array, "e_h e_w 3"]:
            return lax.dynamic_slice(image, (top, left, 0), (*extents, 3))

        # Images stay the outer axis: batches are split over devices along it.
        cut_some = jax.vmap(jax.vmap(cut, (None, 0, 0)))

        def of_some(indices: Integer[Array, " some"]) -> Float[Array, "b some h w classes"]:
            windows = cut_some(images, tops[:, indices // columns], lefts[:, indices % columns])
            windows = windows.reshape(batch * at_once, *extents, 3)
            if mesh is not None and windows.shape[0] % mesh.size == 0:
                # Devices that share an image take whole windows each, not a part of every window.
                windows = lax.with_sharding_constraint(windows, over_all_devices(mesh))
            logits = model.decode(windows, jnp.repeat(window_sizes, at_once, 0))
            return logits.reshape(batch, at_once, *logits.shape[1:])

        steps = -(-rows * columns // at_once)
        indices = jnp.minimum(jnp.arange(steps * at_once), rows * columns - 1)
        logits = jnp.moveaxis(lax.map(of_some, indices.reshape(steps, at_once)), 0, 1)
        _, _, _, height, width, classes = logits.shape
        logits = logits.reshape(batch, -1, height, width, classes)[:, : rows * columns]
        grid = logits.reshape(batch, rows, columns, height, width, classes)
        side_by_side = jnp.transpose(grid, (0, 1, 3, 2, 4, 5))
        return side_by_side.reshape(batch, rows * height, columns * width, classes)

    def to_pixels(
        self, grid: LogitsGrid, lengths: Integer[Array, " b"], bucket: int, axis: int
    ) -> Float[Array, "b bucket positions"]:
        """The linear map from logits to the pixels of an axis, see `InferenceMode.to_pixels`."""
        starts = self._starts(lengths, bucket, axis)
        extents = jnp.minimum(lengths, self.window[axis])
        of_one = _upsampling(grid, extents, min(self.window[axis], bucket))
        within = jnp.arange(bucket) - starts[..., None]
        needed = jnp.arange(starts.shape[1]) < self._count(lengths, axis)[:, None]
        seen = (within >= 0) & (within < extents[:, None, None]) & needed[..., None]
        indices = jnp.clip(within, 0, of_one.shape[1] - 1)[..., None]
        placed = jnp.where(
            seen[..., None], jnp.take_along_axis(of_one[:, None], indices, axis=2), 0
        )
        times_seen = jnp.maximum(jnp.sum(seen, axis=1), 1)
        mean = placed / times_seen[:, None, :, None]
        return jnp.swapaxes(mean, 1, 2).reshape(lengths.shape[0], bucket, -1)

    def _count(self, lengths: Integer[Array, "*b"], axis: int) -> Integer[Array, "*b"]:
        """How many windows an image of some length needs along an axis."""
        return -(-jnp.maximum(lengths - self.window[axis], 0) // self.stride[axis]) + 1

    def _starts(
        self, lengths: Integer[Array, " b"], bucket: int, axis: int
    ) -> Integer[Array, "b windows"]:
        """Where the windows begin, as many as the longest image would need: others repeat some."""
        windows = -(-max(bucket - self.window[axis], 0) // self.stride[axis]) + 1
        last = jnp.maximum(lengths - self.window[axis], 0)[:, None]
        return jnp.minimum(jnp.arange(windows) * self.stride[axis], last)


def inference_mode(config: ConfigDict) -> InferenceMode:
    """The mode that a config's `evaluation` section names: `whole` or `slide`.

    Raises:
        InputError: an unknown mode, or windows that leave gaps.
    """
    match config.mode:
        case "whole":
            return WholeImages()
        case "slide":
            return SlidingWindows(
                tuple(config.window), tuple(config.window_stride), config.windows_at_once
            )
        case other:
            raise InputError(f"evaluation.mode is {other!r}; expected 'whole' or 'slide'")


def _upsampling(
    grid: LogitsGrid, lengths: Integer[Array, " b"], bucket: int
) -> Float[Array, "b bucket positions"]:
    return interpolation_matrix(
        grid.decoded_length(lengths),
        lengths,
        (-(-bucket // grid.decode_stride), bucket),
        align_corners=grid.align_corners,
    )
