"""Sampling of the regions of one image that the heads are trained with, and their objects."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from gcnet_jax.tasks.detection.boxes.assignment import assign
from gcnet_jax.tasks.detection.boxes.sampling import sample
from gcnet_jax.tasks.detection.settings import AssignmentSettings, SamplingSettings


class Regions(NamedTuple):
    """Regions of an image, those for objects first.

    Attributes:
        boxes: of the regions.
        valid: which of the rows are there.
        positive: which are for an object.
        objects: the index of that object; 0 for others.
        are_objects: which are an object's own box.
    """

    boxes: Float[Array, "n 4"]
    valid: Bool[Array, " n"]
    positive: Bool[Array, " n"]
    objects: Int[Array, " n"]
    are_objects: Bool[Array, " n"]


def sample_regions(
    boxes: Float[Array, "n 4"],
    valid: Bool[Array, " n"],
    objects: Float[Array, "m 4"],
    objects_valid: Bool[Array, " m"],
    random: Float[Array, " n_and_m"],
    assignment: AssignmentSettings,
    sampling: SamplingSettings,
) -> Regions:
    """Assigns boxes to objects and samples some, with the objects' own boxes among them.

    Args:
        boxes: proposals, or what a stage made of its regions.
        valid: which of them are there.
        objects: the objects' boxes.
        objects_valid: which of them are there.
        random: a number for each object and then each box, which decides what is sampled.
        assignment: when a box is for an object.
        sampling: how many are sampled.
    """
    assigned = assign(
        boxes,
        valid,
        objects,
        objects_valid,
        positive=assignment.positive,
        negative=assignment.negative,
        minimum_positive=assignment.minimum_positive,
        low_quality=assignment.low_quality,
    )
    count = len(objects)
    own = jnp.where(objects_valid, jnp.arange(1, count + 1), -1)
    boxes, valid, assigned = (
        jnp.concatenate(pair)
        for pair in ((objects, boxes), (objects_valid, valid), (own, assigned))
    )
    chosen = sample(
        assigned,
        valid,
        random,
        count=sampling.count,
        positive_fraction=sampling.positive_fraction,
    )
    positive = chosen.valid & chosen.positive
    return Regions(
        boxes=jnp.where(chosen.valid[:, None], boxes[chosen.indices], 0),
        valid=chosen.valid,
        positive=positive,
        objects=jnp.where(positive, assigned[chosen.indices] - 1, 0),
        are_objects=chosen.valid & (chosen.indices < count),
    )
