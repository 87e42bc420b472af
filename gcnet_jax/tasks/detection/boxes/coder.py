"""Boxes as differences from other boxes, which is what a network predicts, and back."""

import dataclasses
import math

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer

from gcnet_jax.tasks.detection.boxes.overlaps import divided


@dataclasses.dataclass(frozen=True)
class BoxCoder:
    """Shifts relative to a box's size and logarithms of size ratios (`DeltaXYWHBBoxCoder`).

    Rows whose box has no width or height, or isn't finite, as padding may be, give zeros when
    encoded; boxes that aren't finite count as (0, 0, 0, 0) when decoded.

    Attributes:
        means: that are subtracted from (dx, dy, dw, dh).
        stds: that they are divided by then.
        least_ratio: decoded sizes are kept within this times the box's own size, and its inverse.
    """

    means: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    stds: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    least_ratio: float = 16 / 1000

    def encode(
        self, boxes: Float[Array, "*n 4"], targets: Float[Array, "*n 4"]
    ) -> Float[Array, "*n 4"]:
        """Differences that lead from `boxes` to `targets`; the leading axes are broadcast."""
        boxes, targets = jnp.broadcast_arrays(boxes, targets)
        has_extent = _has_extent(boxes) & _has_extent(targets)
        unit = jnp.array([0.0, 0.0, 1.0, 1.0], jnp.float32)
        centers, sizes = _center_and_size(jnp.where(has_extent[..., None], boxes, unit))
        at, extents = _center_and_size(jnp.where(has_extent[..., None], targets, unit))
        deltas = jnp.concatenate([(at - centers) / sizes, jnp.log(extents / sizes)], axis=-1)
        stds = jnp.array(self.stds, jnp.float32)
        encoded = divided(deltas - jnp.array(self.means, jnp.float32), stds)
        return jnp.where(has_extent[..., None], encoded, 0.0)

    def decode(
        self,
        boxes: Float[Array, "*n 4"],
        deltas: Float[Array, "*n 4"],
        size: Integer[Array, "2"] | tuple[int, int] | None = None,
    ) -> Float[Array, "*n 4"]:
        """Boxes at `deltas` from `boxes`; the leading axes are broadcast.

        Args:
            boxes: in pixels.
            deltas: predictions, before `stds` and `means` are applied.
            size: (height, width) of the image, to whose border boxes are cut; by default they
                aren't.
        """
        is_finite = jnp.all(jnp.isfinite(boxes), axis=-1, keepdims=True)
        centers, sizes = _center_and_size(jnp.where(is_finite, boxes, 0.0))
        deltas = deltas * jnp.array(self.stds, jnp.float32) + jnp.array(self.means, jnp.float32)
        limit = abs(math.log(self.least_ratio))
        extents = sizes * jnp.exp(jnp.clip(deltas[..., 2:], -limit, limit))
        at = centers + sizes * deltas[..., :2]
        decoded = jnp.concatenate([at - extents * 0.5, at + extents * 0.5], axis=-1)
        if size is None:
            return decoded
        height, width = jnp.asarray(size, jnp.float32)
        return jnp.clip(decoded, 0.0, jnp.stack([width, height, width, height]))


def _center_and_size(
    boxes: Float[Array, "*n 4"],
) -> tuple[Float[Array, "*n 2"], Float[Array, "*n 2"]]:
    lower, upper = boxes[..., :2], boxes[..., 2:]
    return (lower + upper) * 0.5, upper - lower


def _has_extent(boxes: Float[Array, "*n 4"]) -> Bool[Array, "*n"]:
    _, sizes = _center_and_size(boxes)
    return jnp.all(jnp.isfinite(boxes), axis=-1) & jnp.all(sizes > 0, axis=-1)
