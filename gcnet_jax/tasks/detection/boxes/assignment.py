"""Assignment of boxes to the objects they overlap (mmdetection's `MaxIoUAssigner`)."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Integer

from gcnet_jax.tasks.detection.boxes.overlaps import (
    intersection_over_area,
    intersection_over_union,
)

_VECTOR = 128  # XLA on a CPU makes loops over a length that no vector divides of single numbers
_UNUSABLE = -1.0  # the overlap of a box that is ignored or padding with any object


def assign(
    boxes: Float[Array, "n 4"],
    valid: Bool[Array, "n"],
    objects: Float[Array, "m 4"],
    objects_valid: Bool[Array, "m"],
    *,
    positive: float,
    negative: float,
    minimum_positive: float,
    low_quality: bool,
    ignored: Float[Array, "i 4"] | None = None,
    ignored_valid: Bool[Array, "i"] | None = None,
    ignored_threshold: float = -1.0,
) -> Integer[Array, "n"]:
    """The object of each box, as 1 plus its index; 0 for none, and -1 where that is left open.

    Objects are gone through one by one, up to the last one that is there, so that no array of all
    pairs is made. Of objects that overlap a box alike the first counts. Without any object all
    boxes get 0, ignored ones too, as in the reference.

    Args:
        boxes: anchors or proposals, in pixels.
        valid: which of them are there; the others get -1, and no object's best is among them.
        objects: boxes of objects, in pixels.
        objects_valid: which of them are there.
        positive: intersection over union from which on a box belongs to the object that it
            overlaps most.
        negative: what it must be below for a box to belong to none.
        minimum_positive: what it must be for `low_quality`.
        low_quality: whether each object also gets the boxes that overlap it most, all that are
            equal, whatever they had before; a later object takes them from an earlier one.
        ignored: boxes of regions in which nothing is decided.
        ignored_valid: which of them are there; by default all.
        ignored_threshold: share of a box within one such region above which the box gets -1; not
            above 0 for never.
    """
    boxes, objects = lax.stop_gradient((boxes, objects))
    objects_valid = jnp.asarray(objects_valid)
    count, padding = len(boxes), -len(boxes) % _VECTOR
    valid = jnp.pad(valid, (0, padding))
    boxes = jnp.where(valid[:, None], jnp.pad(boxes, ((0, padding), (0, 0))), 0.0)
    objects = jnp.where(objects_valid[:, None], objects, 0.0)
    usable = valid
    if ignored is not None and ignored_threshold > 0:
        there = jnp.ones(len(ignored), bool) if ignored_valid is None else ignored_valid
        shares = intersection_over_area(boxes, jnp.where(there[:, None], ignored, 0.0))
        shares = jnp.where(there, shares, -1.0)
        usable = valid & ~(jnp.max(shares, axis=1, initial=-1.0) > ignored_threshold)

    def add_object(i: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        highest, nearest, matched = state
        box = lax.dynamic_slice_in_dim(objects, i, 1)
        overlap = jnp.where(usable, intersection_over_union(box, boxes)[0], _UNUSABLE)
        best = jnp.max(overlap, initial=_UNUSABLE)
        is_best = objects_valid[i] & (best >= minimum_positive) & (overlap == best)
        is_higher = objects_valid[i] & (overlap > highest)
        return (
            jnp.where(is_higher, overlap, highest),
            jnp.where(is_higher, i + 1, nearest),
            jnp.where(is_best, i + 1, matched),
        )

    nobody = jnp.zeros(len(boxes), jnp.int32)
    end = jnp.max(jnp.where(objects_valid, jnp.arange(len(objects)) + 1, 0), initial=0)
    start = (jnp.full(len(boxes), _UNUSABLE), nobody, nobody)
    highest, nearest, matched = start
    if len(objects):
        highest, nearest, matched = lax.fori_loop(0, end, add_object, start)
    assigned = jnp.where((highest >= 0) & (highest < negative), 0, -1)
    assigned = jnp.where((highest >= positive) & (nearest > 0), nearest, assigned)
    if low_quality:
        assigned = jnp.where(matched > 0, matched, assigned)
    assigned = jnp.where(end > 0, assigned, 0)
    return jnp.where(valid, assigned, -1)[:count]
