"""From the maps of the region proposal network to proposals, and its loss.

The numbers are those of mmdetection's `RPNHead`. Everything here is of one image. A level is what
the network says of one map of the pyramid; maps may be larger than the image has them, and what
lies beyond counts nothing.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from gcnet_jax.tasks.detection.boxes.anchors import anchors, within_border, within_padding
from gcnet_jax.tasks.detection.boxes.assignment import assign
from gcnet_jax.tasks.detection.boxes.coder import BoxCoder
from gcnet_jax.tasks.detection.boxes.sampling import sample
from gcnet_jax.tasks.detection.boxes.suppression import suppress
from gcnet_jax.tasks.detection.losses import binary_cross_entropy, coordinate_loss
from gcnet_jax.tasks.detection.settings import ProposalSettings, RPNTraining

CODER = BoxCoder()
"""The deltas of the region proposal network are in units of the anchors."""


class Level(NamedTuple):
    """What the network says of one map.

    Attributes:
        logits: whether an anchor is for an object.
        deltas: from the anchor to the object's box.
    """

    logits: Float[Array, "h w anchors"]
    deltas: Float[Array, "h w anchors 4"]


class Candidates(NamedTuple):
    """Boxes before suppression, the best of each level in descending order."""

    boxes: Float[Array, "n 4"]
    scores: Float[Array, " n"]
    levels: Int[Array, " n"]
    valid: Bool[Array, " n"]


class Proposals(NamedTuple):
    """Boxes where there may be an object, in descending order of their scores."""

    boxes: Float[Array, "n 4"]
    scores: Float[Array, " n"]
    valid: Bool[Array, " n"]


def propose(
    levels: Sequence[Level],
    strides: Sequence[int],
    size: Int[Array, "2"],
    padded_size: Int[Array, "2"],
    settings: ProposalSettings,
    *,
    anchor_scale: float = 8.0,
) -> Proposals:
    """Proposes boxes where there may be an object.

    Args:
        levels: from fine to coarse.
        strides: pixels of the image to one position of each level.
        size: height and width of the image, to which boxes are clipped.
        padded_size: of the image with the padding that it is seen with.
        settings: how many, and how much they may overlap.
        anchor_scale: the side of a square anchor in strides.
    """
    found = candidates(levels, strides, size, padded_size, settings, anchor_scale=anchor_scale)
    kept = suppress(
        found.boxes,
        found.scores,
        found.valid,
        threshold=settings.threshold,
        limit=settings.count,
        groups=found.levels,
    )
    boxes = jnp.where(kept.valid[:, None], found.boxes[kept.indices], 0)
    scores = jnp.where(kept.valid, found.scores[kept.indices], 0)
    return Proposals(boxes, scores, kept.valid)


def candidates(
    levels: Sequence[Level],
    strides: Sequence[int],
    size: Int[Array, "2"],
    padded_size: Int[Array, "2"],
    settings: ProposalSettings,
    *,
    anchor_scale: float = 8.0,
) -> Candidates:
    """Picks the best boxes of each level; arguments as for `propose`."""
    parts = []
    for index, (level, stride) in enumerate(zip(levels, strides, strict=True)):
        shape = (level.logits.shape[0], level.logits.shape[1])
        logits = jnp.where(
            within_padding(shape, stride, padded_size), level.logits.reshape(-1), -jnp.inf
        )
        best, places = jax.lax.top_k(logits, min(settings.per_level, len(logits)))
        grid = jnp.asarray(anchors(shape, stride, scale=anchor_scale))
        boxes = CODER.decode(grid[places], level.deltas.reshape(-1, 4)[places], size)
        sides = boxes[:, 2:] - boxes[:, :2]
        valid = (best > -jnp.inf) & (sides > 0).all(-1)
        parts.append(Candidates(boxes, jax.nn.sigmoid(best), jnp.full(best.shape, index), valid))
    return Candidates(*(jnp.concatenate(part) for part in zip(*parts, strict=True)))


class AnchorTargets(NamedTuple):
    """What the network should have said of the anchors of all levels, in a row.

    Attributes:
        sampled: whether the loss counts an anchor.
        positive: whether it is counted as one for an object.
        deltas: to the object's box, of the positive ones.
        total: how many are counted, where none of a kind counts as one.
    """

    sampled: Bool[Array, " n"]
    positive: Bool[Array, " n"]
    deltas: Float[Array, "n 4"]
    total: Int[Array, ""]


def anchor_targets(
    shapes: Sequence[tuple[int, int]],
    strides: Sequence[int],
    size: Int[Array, "2"],
    padded_size: Int[Array, "2"],
    objects: Float[Array, "m 4"],
    objects_valid: Bool[Array, " m"],
    random: Float[Array, " n"],
    settings: RPNTraining,
    *,
    anchor_scale: float = 8.0,
) -> AnchorTargets:
    """Assigns anchors to objects and samples some of them.

    Args:
        shapes: of the levels.
        strides: as for `propose`.
        size: as for `propose`.
        padded_size: as for `propose`.
        objects: their boxes.
        objects_valid: which of these are there.
        random: a number for each anchor, which decides what is sampled.
        settings: of the loss.
        anchor_scale: as for `propose`.
    """
    grids = [
        anchors(shape, stride, scale=anchor_scale)
        for shape, stride in zip(shapes, strides, strict=True)
    ]
    grid = jnp.concatenate([jnp.asarray(grid) for grid in grids])
    valid = jnp.concatenate(
        [
            within_padding(shape, stride, padded_size)
            for shape, stride in zip(shapes, strides, strict=True)
        ]
    )
    if settings.allowed_border >= 0:
        valid &= within_border(grid, size, settings.allowed_border)
    rules = settings.assignment
    assigned = assign(
        grid,
        valid,
        objects,
        objects_valid,
        positive=rules.positive,
        negative=rules.negative,
        minimum_positive=rules.minimum_positive,
        low_quality=rules.low_quality,
    )
    chosen = sample(
        assigned,
        valid,
        random,
        count=settings.sampling.count,
        positive_fraction=settings.sampling.positive_fraction,
    )
    nowhere = len(grid)
    places = jnp.where(chosen.valid, chosen.indices, nowhere)
    sampled = jnp.zeros(len(grid), bool).at[places].set(True, mode="drop")
    positive = sampled & (assigned > 0)
    mine = objects[jnp.maximum(assigned - 1, 0)] if len(objects) else grid
    mine = jnp.where(positive[:, None], mine, grid)
    positives, negatives = positive.sum(), (sampled & ~positive).sum()
    total = jnp.maximum(positives, 1) + jnp.maximum(negatives, 1)
    return AnchorTargets(sampled, positive, CODER.encode(grid, mine), total)


class RPNLosses(NamedTuple):
    """Sums over the sampled anchors of each level, not yet divided by their count."""

    classification: Float[Array, " levels"]
    boxes: Float[Array, " levels"]


def rpn_losses(levels: Sequence[Level], targets: AnchorTargets, settings: RPNTraining) -> RPNLosses:
    """Compares what the network says with what it should have said."""
    sums, start = [], 0
    for level in levels:
        here = slice(start, start + level.logits.size)
        start += level.logits.size
        positive = targets.positive[here]
        of_logits = binary_cross_entropy(level.logits.reshape(-1), positive.astype(jnp.float32))
        of_deltas = coordinate_loss(
            level.deltas.reshape(-1, 4), targets.deltas[here], beta=settings.beta
        )
        sums.append(
            (
                jnp.where(targets.sampled[here], of_logits, 0).sum(),
                jnp.where(positive[:, None], of_deltas, 0).sum(),
            )
        )
    return RPNLosses(*(jnp.stack(part) for part in zip(*sums, strict=True)))
