"""What a mask head is to predict of an object in a box."""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Integer, UInt8

from gcnet_jax.tasks.detection.regions.roi_align import RegionPooling, places_of

_BITS = 8  # in a byte


def mask_targets(
    boxes: Float[Array, "r 4"],
    masks: UInt8[Array, "m h w_bytes"],
    objects: Int[Array, "r"],
    size: Integer[Array, "2"] | None = None,
    *,
    bins: int = 28,
) -> Bool[Array, "r bins bins"]:
    """Returns which bins of each box are at least half covered by its object.

    Boxes are cut to the padded image, as mmdetection's `mask_target_single` does, and the masks in
    them averaged by RoIAlign with adaptive sampling, as `BitmapMasks.crop_and_resize` does. A box
    without area has no bins that are covered, nor has one of an object that is not there.

    Masks are unpacked where boxes lie, a tile at a time.

    Args:
        boxes: (x1, y1, x2, y2) in pixels of the masks.
        masks: of all objects, in the padded image; the bits of each row as `numpy.packbits` packs
            them.
        objects: which mask is meant by each box.
        size: (height, width) of the padded image, where the array is larger; the array's if None.
        bins: along both sides of the result.
    """
    count, height, row_bytes = masks.shape
    size = jnp.array([height, row_bytes * _BITS]) if size is None else size
    corners = jnp.tile(size[::-1], 2)
    places = places_of(
        jnp.clip(boxes, 0, corners),
        objects,
        jnp.zeros(objects.shape, int),
        strides=(1,),
        sizes=jnp.broadcast_to(size, (1, count, 2)),
        bins=bins,
        sampling_ratio=0,
    )
    form = _PackedPooling(((count, height, row_bytes * _BITS, 1),), bins, sampling_ratio=0)
    covered = form(places, (masks[..., None],))
    return covered[..., 0] >= 0.5


@dataclasses.dataclass(frozen=True)
class _PackedPooling(RegionPooling):
    """The share of each bin that is covered, by maps of one channel whose rows are packed bits."""

    def part(
        self,
        features: UInt8[Array, "m h w_bytes 1"],
        at: Sequence[Array | int],
        tile: tuple[int, int],
    ) -> UInt8[Array, "rows columns 1"]:
        """Returns a tile of a mask of 0 and 1."""
        mask, top, left, _ = at
        rows, columns = tile
        # Wherever it begins within a byte, and no more than there are.
        row_bytes = min(-(-columns // _BITS) + 1, features.shape[2])
        first = jnp.minimum(left // _BITS, features.shape[2] - row_bytes)
        packed = super().part(features, (mask, top, first, 0), (rows, row_bytes))
        bits = jnp.unpackbits(packed[..., 0], axis=1)
        return lax.dynamic_slice_in_dim(bits, left - first * _BITS, columns, axis=1)[..., None]
