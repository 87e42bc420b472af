"""The framework that every context block is an instance of: three steps in one call.

Source: Cao et al., "GCNet: Non-local Networks Meet Squeeze-Excitation Networks and Beyond" (2019),
section 3.3: context modelling gathers features from all positions into a context, a transform
captures the dependencies of its channels, fusion brings it back into the features of every
position. Each step has a file of its own pieces beside this one (fusion is one line a kind, below);
`blocks.py` puts them together.
"""

import math
from collections.abc import Callable
from typing import ClassVar, Protocol

import jax
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from gcnet_jax.nn.checks import check_count, check_features, check_queries
from gcnet_jax.ops import zero_outside

Mask = Bool[Array, "b *spatial"] | None
"""The positions that take part; `None` for all of them."""


class ContextModelling(Protocol):
    """The first step: what a block gathers, and under which weights."""

    query_independent: ClassVar[bool]
    """Whether every position gathers the same: the context then has size one in space."""
    is_distribution: bool
    """Whether weights are never negative and sum to one."""

    def __call__(
        self, x: Float[Array, "b *spatial c"], mask: Mask = None
    ) -> Float[Array, "b *context c_context"]:
        """The context, gathered where the mask is true; it broadcasts against the features."""
        ...

    def weights(
        self,
        x: Float[Array, "b *spatial c"],
        queries: Int[Array, " q"] | None = None,
        mask: Mask = None,
    ) -> Float[Array, "b *map"]:
        """The weight of every position; for each of `queries`, unless they gather the same."""
        ...


Transform = Callable[[Float[Array, "b *context c_context"]], Float[Array, "b *context c"]]


# Plain functions: those of jax.nn are compiled ones, and a structure with such cannot be pickled.


def sigmoid(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """1 / (1 + exp(-x))."""
    return jax.nn.sigmoid(x)


def hard_sigmoid(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """clip((x + 3) / 6, 0, 1)."""
    return jax.nn.hard_sigmoid(x)


class ContextBlock(nnx.Module):
    """Context modelling, transform and fusion on features with one, two or three spatial axes.

    Args:
        channels: channels of the features.
        pool: context modelling.
        multiply: the transform whose result gates the features, if any.
        add: the transform whose result is added to the features, if any. A block with both
            multiplies first; each transforms the same context.
        gate: maps what `multiply` returns to factors.

    Raises:
        InputError: channels are no count.
    """

    def __init__(
        self,
        channels: int,
        *,
        pool: ContextModelling,
        multiply: Transform | None = None,
        add: Transform | None = None,
        gate: Callable[[Array], Array] = sigmoid,
    ):
        check_count("channels", channels)
        self.channels = channels
        self.pool = pool
        self.multiply = nnx.data(multiply)
        self.add = nnx.data(add)
        self.gate = gate

    def __call__(
        self, x: Float[Array, "b *spatial c"], mask: Mask = None
    ) -> Float[Array, "b *spatial c"]:
        """Gathers the context, transforms it, and fuses it into the features of every position.

        Args:
            x: the features.
            mask: true where the features are, false in what only fills the array up. The others
                come out as if they were alone, and what fills up as zero.

        Raises:
            InputError: the features are no floats, or have another rank or other channels, or an
                axis of size zero; or the mask is not true or false for each position.
        """
        check_features(x, self.channels, mask)
        context = self.pool(x, mask)
        if self.multiply is not None:
            x = x * self.gate(self.multiply(context))
        if self.add is not None:
            x = x + self.add(context)
        return zero_outside(x, mask)

    def attention(
        self,
        x: Float[Array, "b *spatial c"],
        queries: Int[Array, " q"] | None = None,
        mask: Mask = None,
    ) -> Float[Array, "b *map"]:
        """The weights under which the block gathers.

        Args:
            x: the block's input.
            queries: for blocks whose weights depend on the query: positions to give the weights
                of, below the number of positions, counted in row-major order (all of them by
                default). The others ignore it.
            mask: as for `__call__`; positions outside have no weight.

        Returns:
            `(b, *spatial)` if all queries share one map, `(b, q, *keys)` if each has its own.

        Raises:
            InputError: as `__call__`; or queries are no positions.
        """
        check_features(x, self.channels, mask)
        check_queries(queries, math.prod(x.shape[1:-1]))
        return self.pool.weights(x, queries, mask)
