"""How much what a context block does depends on the query.

Source: Cao et al. (2019), section 3.2: the average over all pairs of query positions (a position
with itself included) of a distance between what belongs to the one and to the other: the block's
input x_i, its attention map, or its output z_i - x_i, before it joins the features again. Distances
are the cosine distance (1 - cos) / 2 and, of attention maps, the Jensen-Shannon divergence in nats.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from gcnet_jax.errors import InputError
from gcnet_jax.nn import ContextBlock

_ROWS_AT_ONCE = 64

Mask = Bool[Array, "1 *spatial"] | None
MapsOf = Callable[[Int[Array, " some"]], Float[Array, "some keys"]]
"""Takes queries to their attention maps."""


class Distances(NamedTuple):
    """Average pairwise distances in one image; NaN where they are not defined.

    Attributes:
        input: cosine distance of the features that the block gets, from 0 to 1.
        output: cosine distance of what the block changes in them; not defined if that is nothing.
        attention: cosine distance of the attention maps.
        attention_divergence: Jensen-Shannon divergence of the attention maps, from 0 to log 2; only
            for blocks whose weights are distributions.
    """

    input: Float[Array, ""]
    output: Float[Array, ""]
    attention: Float[Array, ""]
    attention_divergence: Float[Array, ""]


def query_distances(
    block: ContextBlock,
    x: Float[Array, "*spatial c"],
    queries: Int[Array, " q"] | None = None,
    *,
    mask: Bool[Array, "*spatial"] | None = None,
    size: tuple[int, ...] | None = None,
) -> Distances:
    """The average distances between query positions for a block and the features of one image.

    Memory grows with the number of positions, not with its square. The time of exact distances of
    attention maps does with its square (cosine) and its cube (divergence).

    Args:
        block: the context block.
        x: its input, without the batch axis.
        queries: a random sample of at least two positions, in row-major order, to estimate the
            distances of attention maps from; all positions by default. Inputs and outputs are
            always compared at all positions. A vector of zeros has no direction: it is left out
            as if it were not in the sample.
        mask: where there are features; None if everywhere.
        size: lengths of the spatial axes along which positions are compared, from the first on;
            all by default.

    Raises:
        InputError: the sample has fewer than two positions.
    """
    spatial = x.shape[:-1]
    size = spatial if size is None else size
    batch, positions, there = x[None], math.prod(size), None if mask is None else mask[None]
    compared = tuple(slice(length) for length in size)
    if queries is not None and queries.shape[0] < min(2, positions):
        raise InputError(f"{queries.shape[0]} positions are no sample; expected 2 or more")
    inputs = x[compared].reshape(positions, -1)
    changes = _change(block, batch, there)[0][compared].reshape(positions, -1)
    if block.pool.query_independent:
        attention = divergence = jnp.zeros(())  # one map for all queries
    else:
        sample = jnp.arange(positions) if queries is None else queries
        sample = jnp.ravel_multi_index(jnp.unravel_index(sample, size), spatial, mode="clip")

        def maps_of(queries: Int[Array, " some"]) -> Float[Array, "some keys"]:
            maps = block.attention(batch, queries, there)
            return maps.reshape(queries.shape[0], -1).astype(jnp.float32)

        attention = _attention_cosine_distance(maps_of, sample, positions)
        divergence = jnp.full((), jnp.nan)
        if block.pool.is_distribution:
            divergence = _attention_divergence(maps_of, sample, positions)
    return Distances(
        input=_cosine_distance(*_unit_sum(inputs), positions),
        output=_cosine_distance(*_unit_sum(changes), positions),
        attention=attention,
        attention_divergence=divergence,
    )


def _change(
    block: ContextBlock, x: Float[Array, "1 *spatial c"], mask: Mask
) -> Float[Array, "1 *spatial c"]:
    if block.multiply is None and block.add is not None:
        added = block.add(block.pool(x, mask))
        return jnp.broadcast_to(added, x.shape)  # without rounding from the sum
    return block(x, mask) - x


def _unit_sum(vectors: Float[Array, "n c"]) -> tuple[Float[Array, " c"], Float[Array, ""]]:
    """The sum of the vectors scaled to length one, and how many there are that have a length.

    The sum of the cosines of all pairs is the square of that sum: pairs are never formed.
    """
    vectors = vectors.astype(jnp.float32)
    lengths = jnp.linalg.norm(vectors, axis=-1, keepdims=True)
    present = lengths > 0
    units = jnp.where(present, vectors / jnp.where(present, lengths, 1), 0)
    return units.sum(0), present.sum()


def _cosine_distance(
    unit_sum: Float[Array, " c"], count: Float[Array, ""], positions: int
) -> Float[Array, ""]:
    """The average over all pairs of `positions`, from the `count` vectors of a sample of them."""
    others = (jnp.sum(unit_sum**2) - count) / jnp.maximum(count * (count - 1), 1)
    average = jnp.where(positions > 1, ((positions - 1) * others + 1) / positions, 1.0)
    defined = count >= min(2, positions)
    return jnp.where(defined, jnp.maximum((1 - average) / 2, 0), jnp.nan)


def _attention_cosine_distance(
    maps_of: MapsOf, queries: Int[Array, " q"], positions: int
) -> Float[Array, ""]:
    def of_some(queries: Int[Array, " some"], valid: Array) -> tuple[Array, Array]:
        return _unit_sum(maps_of(queries) * valid[:, None])

    sums, counts = _in_parts(of_some, queries)
    return _cosine_distance(sums.sum(0), counts.sum(), positions)


def _attention_divergence(
    maps_of: MapsOf, queries: Int[Array, " q"], positions: int
) -> Float[Array, ""]:
    """The divergence of a pair is the entropy of its mean less the mean of its entropies."""

    def entropies(maps: Float[Array, "q k"]) -> Float[Array, " q"]:
        return jax.scipy.special.entr(maps).sum(-1)

    def of_some(queries_a: Int[Array, " some"], valid_a: Array) -> Float[Array, ""]:
        maps_a = maps_of(queries_a)

        def of_pairs(queries_b: Int[Array, " some"], valid_b: Array) -> Float[Array, ""]:
            maps_b = maps_of(queries_b)
            own = entropies(maps_b)

            def of_one(inputs: tuple[Array, Array]) -> Float[Array, ""]:
                one, valid = inputs
                mixed = entropies((one + maps_b) / 2) - (entropies(one[None]) + own) / 2
                return valid * jnp.sum(jnp.maximum(mixed, 0) * valid_b)

            return lax.map(of_one, (maps_a, valid_a)).sum()

        return _in_parts(of_pairs, queries).sum()

    total, count = _in_parts(of_some, queries).sum(), queries.shape[0]
    # Of a sample all pairs but those of a position with itself stand for the others.
    return total / max(count * (count - 1), 1) * (positions - 1) / positions


def _in_parts(function, queries: Int[Array, " q"]):
    """`function(queries, valid)` for some queries at a time, its results stacked.

    The last part is filled up with queries that count for nothing: `valid` is 0 for them, 1 else.
    """
    size = min(_ROWS_AT_ONCE, queries.shape[0])
    missing = -queries.shape[0] % size
    padded = jnp.pad(queries, (0, missing)).reshape(-1, size)
    valid = jnp.pad(jnp.ones(queries.shape, jnp.float32), (0, missing)).reshape(-1, size)
    return lax.map(lambda part: function(*part), (padded, valid))
