"""Sampling of the boxes that a loss counts: a few positive ones, and negative ones to fill up."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Integer


class Sampled(NamedTuple):
    """The boxes chosen: positive ones first, each kind by index.

    Attributes:
        indices: of boxes; 0 beyond the last one.
        valid: which indices are there: the first ones.
        positive: which of them belong to an object.
    """

    indices: Integer[Array, "count"]
    valid: Bool[Array, "count"]
    positive: Bool[Array, "count"]


def sample(
    assigned: Integer[Array, "n"],
    valid: Bool[Array, "n"],
    random: Float[Array, "n"],
    *,
    count: int,
    positive_fraction: float,
) -> Sampled:
    """Chooses boxes at random, as mmdetection's `RandomSampler` without `neg_pos_ub`.

    Of the boxes of objects at most `int(count * positive_fraction)` are taken, of those that belong
    to none as many as are missing to `count`: of each kind those with the largest random numbers,
    of equal ones the first. If there are not enough, fewer are taken.

    Args:
        assigned: what `assign` returns.
        valid: which boxes are there.
        random: a number for each box, without NaN.
        count: how many boxes to choose.
        positive_fraction: which share of them may belong to objects.

    Returns:
        Arrays of length `count`, or `n` if that is less.
    """
    boxes = len(assigned)
    length, most_positive = min(count, boxes), min(int(count * positive_fraction), boxes)
    random = lax.stop_gradient(random)
    positive, positive_count = _largest(random, valid & (assigned > 0), most_positive)
    negative, negative_count = _largest(random, valid & (assigned == 0), length)
    positive_count = jnp.minimum(positive_count, most_positive)
    negative_count = jnp.minimum(negative_count, count - positive_count)
    # One sort puts both kinds in order: negative ones come after all boxes, the rest after those.
    positive = jnp.where(jnp.arange(most_positive) < positive_count, positive, 2 * boxes)
    negative = jnp.where(jnp.arange(length) < negative_count, boxes + negative, 2 * boxes)
    in_order = jnp.sort(jnp.concatenate([positive, negative]))[:length]
    is_valid = in_order < 2 * boxes
    indices = jnp.where(is_valid, in_order % max(boxes, 1), 0)
    return Sampled(indices, is_valid, in_order < boxes)


def _largest(
    random: Float[Array, "n"], chosen: Bool[Array, "n"], most: int
) -> tuple[Integer[Array, "most"], Integer[Array, ""]]:
    """The `most` chosen of the largest numbers, and how many are chosen altogether."""
    _, indices = lax.top_k(jnp.where(chosen, random, -jnp.inf), most)
    return indices, jnp.sum(chosen)
