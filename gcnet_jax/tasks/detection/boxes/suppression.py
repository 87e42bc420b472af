"""Greedy non-maximum suppression with fixed shapes: exact, and the same bits every time.

A box is dropped if a better one that is kept overlaps it by more than a threshold; exactly at the
threshold it stays. Boxes come by falling score, equal scores by index. The comparison is
`intersection > threshold * union` in float32, as in mmcv's code for GPUs; its code for CPUs
divides, which is the same but for rounding (at 0.5 and 0.7 also for whole numbers on the
threshold).

Boxes of different groups are kept apart as mmcv does it: each is moved by its group's index times
the largest coordinate plus 1, in float32, which rounds coordinates. Where none lies below -1, as
none of a box cut to its image does, boxes of different groups never meet, so that mmcv's handling
of groups one by one, from 10,000 boxes on, gives the same.

No gradient flows: what is returned are indices.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Integer

from gcnet_jax.tasks.detection.boxes.overlaps import areas, intersections, rounded

_BLOCK = 128


class Kept(NamedTuple):
    """The boxes that remain, by falling score; equal scores by index.

    Attributes:
        indices: into what was given; 0 beyond the last one.
        valid: which indices are there: the first ones.
    """

    indices: Integer[Array, "limit"]
    valid: Bool[Array, "limit"]


@functools.partial(jax.jit, static_argnames="limit")
def suppress(
    boxes: Float[Array, "n 4"],
    scores: Float[Array, "n"],
    valid: Bool[Array, "n"],
    *,
    threshold: float,
    limit: int,
    groups: Integer[Array, "n"] | None = None,
) -> Kept:
    """The best boxes of which none overlaps a better one by more than the threshold.

    Boxes are looked at in blocks. Of a block all go that overlap one kept before; what the rest do
    to each other is the one fixed point of "kept if no kept one before it overlaps", which is
    reached after as many rounds as the longest chain of boxes that decide on each other.

    Args:
        boxes: in pixels.
        scores: of each box, no NaN where valid.
        valid: which boxes are there; whatever the others hold is ignored.
        threshold: intersection over union, from 0 to 1.
        limit: how many boxes to return at most.
        groups: indices from 0; boxes suppress only others of their group.
    """
    if len(boxes) == 0:
        return Kept(jnp.zeros(limit, jnp.int32), jnp.zeros(limit, bool))
    boxes, scores = lax.stop_gradient((boxes, scores))
    boxes = jnp.where(valid[:, None], boxes, 0.0)
    if groups is not None:
        boxes = boxes + offsets(groups, largest_coordinate(boxes, valid[:, None]))[:, None]
    blocks = -(-len(boxes) // _BLOCK)
    padding = blocks * _BLOCK - len(boxes)
    order = jnp.argsort(jnp.where(valid, -scores, jnp.inf))  # which is stable
    order = jnp.pad(order.astype(jnp.int32), (0, padding))
    exists = jnp.pad(valid, (0, padding))[order] & (jnp.arange(len(order)) < len(boxes))
    end = jnp.max(jnp.where(exists, jnp.arange(len(order)) + 1, 0), initial=0)
    in_order = boxes[order]
    in_blocks = (
        order.reshape(blocks, _BLOCK),
        in_order.reshape(blocks, _BLOCK, 4),
        areas(in_order).reshape(blocks, _BLOCK),
        exists.reshape(blocks, _BLOCK),
    )
    comes_before = jnp.tril(jnp.ones((_BLOCK, _BLOCK), bool), -1)

    def is_unfinished(state: tuple[Array, ...]) -> Array:
        block, count, *_ = state
        return (block * _BLOCK < end) & (count < limit)

    def look_at_block(state: tuple[Array, ...]) -> tuple[Array, ...]:
        block, count, kept, *kept_boxes = state
        indices, *candidates, remain = (
            lax.dynamic_index_in_dim(x, block, keepdims=False) for x in in_blocks
        )
        as_column = tuple(x[:, None] for x in candidates)
        remain &= ~jnp.any(_suppresses(kept_boxes, as_column, threshold), axis=1)
        by_each_other = _suppresses(candidates, as_column, threshold) & comes_before
        remain = _fixed_point(by_each_other, remain)
        places = jnp.where(remain, count + jnp.cumsum(remain) - 1, limit)  # the limit: dropped
        kept, *kept_boxes = (
            x.at[places].set(new, mode="drop")
            for x, new in zip((kept, *kept_boxes), (indices, *candidates), strict=True)
        )
        return block + 1, count + jnp.sum(remain), kept, *kept_boxes

    nothing = jnp.zeros((limit, 4)), jnp.full(limit, jnp.inf)  # what no overlap is enough for
    start = jnp.int32(0), jnp.int32(0), jnp.zeros(limit, jnp.int32), *nothing
    _, count, kept, *_ = lax.while_loop(is_unfinished, look_at_block, start)
    return Kept(kept, jnp.arange(limit) < count)


@functools.partial(jax.jit, static_argnames="limit")
def suppress_by_class(
    boxes: Float[Array, "n k 4"] | Float[Array, "n 4"],
    scores: Float[Array, "n k"],
    valid: Bool[Array, "n"],
    *,
    score_threshold: float,
    threshold: float,
    limit: int,
) -> Kept:
    """The best of all pairs of a box and a class, where boxes suppress others of their class.

    This is mmdetection's `multiclass_nms`, over every pair above the score threshold: no number of
    candidates is too large, and nothing is sorted. The best pair is picked `limit` times, and what
    it suppresses taken out of the table of scores.

    Args:
        boxes: one for each class, or one for all, in pixels, with no coordinate below -1.
        scores: without the background's.
        valid: which rows are there; whatever the others hold is ignored.
        score_threshold: pairs count whose score is above.
        threshold: intersection over union, from 0 to 1.
        limit: how many pairs to return at most.

    Returns:
        Indices into the flattened pairs: row times `k` plus class.
    """
    boxes, scores = lax.stop_gradient((boxes, scores))
    rows, classes = scores.shape
    if rows == 0 or classes == 0:
        return Kept(jnp.zeros(limit, jnp.int32), jnp.zeros(limit, bool))
    boxes = boxes if boxes.ndim == 3 else boxes[:, None]
    is_candidate = valid[:, None] & (scores > score_threshold)
    has_candidate = jnp.broadcast_to(is_candidate, scores.shape)
    if boxes.shape[1] == 1:
        has_candidate = jnp.any(is_candidate, axis=1, keepdims=True)
    moves = offsets(jnp.arange(classes), largest_coordinate(boxes, has_candidate[..., None]))
    # Classes first and coordinates apart: each pick reads one class, in one piece.
    boxes_by_class = boxes.transpose(1, 2, 0)
    table = jnp.where(is_candidate, scores, -jnp.inf).T
    best, best_rows = _first_maximum(table)

    def pick(step: Array, state: tuple[Array, Array, Array, Array, Array]):
        table, best, best_rows, picked, exists = state
        score = jnp.max(best)
        pairs = best_rows * classes + jnp.arange(classes)
        pair = jnp.min(jnp.where(best == score, pairs, rows * classes))
        row, label = pair // classes, pair % classes
        own = label if len(boxes_by_class) > 1 else 0
        others = lax.dynamic_index_in_dim(boxes_by_class, own, keepdims=False) + moves[label]
        sizes = areas(others.T)
        gone = _suppresses((others[:, row], sizes[row]), (others.T, sizes), threshold)
        gone |= jnp.arange(rows) == row
        left = lax.dynamic_index_in_dim(table, label, keepdims=False)
        left = jnp.where(gone, -jnp.inf, left)
        table = lax.dynamic_update_index_in_dim(table, left, label, 0)
        highest, at = _first_maximum(left)
        best, best_rows = best.at[label].set(highest), best_rows.at[label].set(at)
        is_pick = score > -jnp.inf
        picked = picked.at[step].set(jnp.where(is_pick, pair, 0))
        return table, best, best_rows, picked, exists.at[step].set(is_pick)

    start = (table, best, best_rows, jnp.zeros(limit, jnp.int32), jnp.zeros(limit, bool))
    *_, picked, exists = lax.fori_loop(0, limit, pick, start)
    return Kept(picked, exists)


def offsets(groups: Integer[Array, "n"], largest: Float[Array, ""]) -> Float[Array, "n"]:
    """How far the boxes of groups are moved apart, by the largest coordinate of all."""
    return rounded(groups.astype(jnp.float32) * (largest + 1.0))


def largest_coordinate(
    boxes: Float[Array, "*n 4"], exists: Bool[Array, "*n 1"]
) -> Float[Array, ""]:
    """The largest coordinate of boxes that are there; 0 if none is."""
    largest = jnp.max(jnp.where(exists, boxes, -jnp.inf), initial=-jnp.inf)
    return jnp.where(jnp.any(exists), largest, 0.0)


def _suppresses(
    better: Sequence[Float[Array, "..."]], boxes: Sequence[Float[Array, "..."]], threshold: float
) -> Bool[Array, "*n"]:
    """Whether boxes overlap better ones by more than the threshold.

    Both are given as (boxes, areas), whose leading axes are broadcast.
    """
    intersection = intersections(better[0], boxes[0])
    return intersection > threshold * (better[1] + boxes[1] - intersection)


def _fixed_point(suppresses: Bool[Array, "n n"], candidates: Bool[Array, "n"]) -> Bool[Array, "n"]:
    """The candidates that no kept one suppresses; row `i` says which before it would drop `i`."""
    by = suppresses.astype(jnp.float32)

    def once_more(state: tuple[Array, Array]) -> tuple[Array, Array]:
        kept, _ = state
        again = candidates & ~(by @ kept.astype(jnp.float32) > 0)
        return again, jnp.any(again != kept)

    kept, _ = lax.while_loop(lambda state: state[1], once_more, (candidates, jnp.bool_(True)))
    return kept


def _first_maximum(
    x: Float[Array, "*leading n"],
) -> tuple[Float[Array, "*leading"], Integer[Array, "*leading"]]:
    """The maximum along the last axis, and where it is first; on a CPU faster than `argmax`."""
    highest = jnp.max(x, axis=-1, keepdims=True)
    positions = jnp.arange(x.shape[-1], dtype=jnp.int32)
    first = jnp.min(jnp.where(x == highest, positions, x.shape[-1]), axis=-1)
    return highest[..., 0], first
