"""The losses of the box head and of the mask head, over the regions of a batch."""

import math
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from gcnet_jax.tasks.detection.boxes.coder import BoxCoder
from gcnet_jax.tasks.detection.losses import (
    binary_cross_entropy,
    coordinate_loss,
    cross_entropy,
)


class BoxLosses(NamedTuple):
    """Losses of a box head, and the share of regions whose class it got right."""

    classification: Float[Array, ""]
    boxes: Float[Array, ""]
    accuracy: Float[Array, ""]


def box_losses(
    logits: Float[Array, "n classes_and_background"],
    deltas: Float[Array, "n classes_or_one 4"],
    regions: Float[Array, "n 4"],
    valid: Bool[Array, " n"],
    positive: Bool[Array, " n"],
    classes: Int[Array, " n"],
    boxes: Float[Array, "n 4"],
    *,
    coder: BoxCoder,
    beta: float,
) -> BoxLosses:
    """Compares what a box head says of regions with the objects that they are for.

    Both losses are divided by the number of regions, positive or not.

    Args:
        logits: the background last.
        deltas: from the region to the object, of each class or of all alike.
        regions: the regions' boxes.
        valid: which rows are there.
        positive: which are for an object.
        classes: of the object of a positive region.
        boxes: of the object of a positive region.
        coder: of the deltas.
        beta: where the loss of a coordinate goes over from square to absolute; 0 is absolute.
    """
    background = logits.shape[-1] - 1
    labels = jnp.where(positive, classes, background)
    count = jnp.maximum(valid.sum(), 1)
    of_classes = jnp.where(valid, cross_entropy(logits, labels), 0).sum() / count
    mine = jnp.minimum(jnp.where(positive, classes, 0), deltas.shape[1] - 1)
    chosen = jnp.take_along_axis(deltas, mine[:, None, None], axis=1)[:, 0]
    targets = coder.encode(regions, jnp.where(positive[:, None], boxes, regions))
    of_boxes = jnp.where(positive[:, None], coordinate_loss(chosen, targets, beta=beta), 0)
    right = valid & (jnp.argmax(logits, axis=-1) == labels)
    return BoxLosses(of_classes, of_boxes.sum() / count, right.sum() / count)


def mask_loss(
    logits: Float[Array, "n side side classes"],
    positive: Bool[Array, " n"],
    classes: Int[Array, " n"],
    targets: Bool[Array, "n side side"],
) -> Float[Array, ""]:
    """Binary cross-entropy of the masks of positive regions, the mean over all their pixels.

    Args:
        logits: a mask for each class.
        positive: which regions are for an object.
        classes: of that object.
        targets: its mask in the region.
    """
    mine = jnp.where(positive, classes, 0)[:, None, None, None]
    chosen = jnp.take_along_axis(logits, mine, axis=-1)[..., 0]
    losses = binary_cross_entropy(chosen, targets.astype(jnp.float32))
    pixels = jnp.maximum(positive.sum(), 1) * math.prod(targets.shape[1:])
    return jnp.where(positive[:, None, None], losses, 0).sum() / pixels
