"""What a mask head is to predict of an object in a box."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from gcnet_jax.tasks.detection.regions.roi_align import roi_align


def mask_targets(
    boxes: Float[Array, "r 4"],
    masks: Shaped[Array, "m h w"],
    objects: Int[Array, "r"],
    *,
    bins: int = 28,
) -> Bool[Array, "r bins bins"]:
    """Returns which bins of each box are at least half covered by its object.

    Boxes are cut to the masks' array, as mmdetection's `mask_target_single` does, and the masks in
    them averaged by RoIAlign with adaptive sampling, as `BitmapMasks.crop_and_resize` does. A box
    without area has no bins that are covered, nor has one of an object that is not there.

    Args:
        boxes: (x1, y1, x2, y2) in pixels of the masks.
        masks: of all objects, in the padded image: booleans, or 0 and 1.
        objects: which mask is meant by each box.
        bins: along both sides of the result.
    """
    height, width = masks.shape[1:]
    corners = jnp.array([width, height, width, height])
    covered = roi_align(
        (masks[..., None],),
        jnp.clip(boxes, 0, corners),
        objects,
        jnp.zeros(objects.shape, int),
        strides=(1,),
        bins=bins,
    )
    return covered[..., 0] >= 0.5
