"""What a mask head is to predict of an object in a box."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Integer, Shaped

from gcnet_jax.tasks.detection.regions.roi_align import roi_align


def mask_targets(
    boxes: Float[Array, "r 4"],
    masks: Shaped[Array, "m h w"],
    objects: Int[Array, "r"],
    size: Integer[Array, "2"] | None = None,
    *,
    bins: int = 28,
) -> Bool[Array, "r bins bins"]:
    """Returns which bins of each box are at least half covered by its object.

    Boxes are cut to the padded image, as mmdetection's `mask_target_single` does, and the masks in
    them averaged by RoIAlign with adaptive sampling, as `BitmapMasks.crop_and_resize` does. A box
    without area has no bins that are covered, nor has one of an object that is not there.

    Args:
        boxes: (x1, y1, x2, y2) in pixels of the masks.
        masks: of all objects, in the padded image: booleans, or 0 and 1.
        objects: which mask is meant by each box.
        size: (height, width) of the padded image, where the array is larger; the array's if None.
        bins: along both sides of the result.
    """
    size = jnp.array(masks.shape[1:]) if size is None else size
    corners = jnp.tile(size[::-1], 2)
    covered = roi_align(
        (masks[..., None],),
        jnp.clip(boxes, 0, corners),
        objects,
        jnp.zeros(objects.shape, int),
        strides=(1,),
        bins=bins,
        sizes=(jnp.broadcast_to(size, (len(masks), 2)),),
    )
    return covered[..., 0] >= 0.5
