"""Initialisers that compile hardly anything: drawn in a few sizes, scaled on the host.

Each gives the values of its namesake in `flax.nnx.initializers`. Those compile a program or two for
every shape, which takes most of the time in which a model is made.

What `jax.random` draws is multiplied by a factor, rounded once more: a seed gives the same network
with every version of JAX that draws the same. The namesakes of jax 0.10.2 do so too, bit for bit.
Those of jax 0.12.0.1 join the factor of a normal distribution to one inside the draw first, and
differ in the last two bits.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.core import Tracer
from jaxtyping import Array, Float

_SIZES = tuple(4**power for power in range(8, 14))
"""How many values are drawn at a time: the next above what is needed."""


def initial_rngs(key: Array) -> nnx.Rngs:
    """What `nnx.Rngs(key)` is to modules that are made with it, its keys counted on the host.

    The counter of `nnx.Rngs` is an array. Where a network is made without arrays
    (`nnx.eval_shape`), JAX looks for the origin of each count among all that was traced before:
    four fifths of the time that ResNet-101 takes.
    """
    rngs: Any = nnx.Rngs(key)  # to whose attributes Flax gives no types
    rngs.default = _CountedOnHost(key)
    return rngs


class _CountedOnHost(nnx.RngStream):
    def __init__(self, key: Array):
        super().__init__(key, tag="default")
        self.calls = 0

    def __call__(self) -> Array:
        key = jax.random.fold_in(self.key[...], np.uint32(self.calls))
        self.calls += 1
        return key


@dataclasses.dataclass(frozen=True)
class Filled:
    """An initialiser that gives one value everywhere."""

    value: float

    def __call__(
        self,
        key: Array,
        shape: Sequence[int],
        dtype: Any = jnp.float32,
        out_sharding: Any = None,
    ) -> Float[Array, "..."]:
        """An array of a shape; of the key counts only whether it is being traced."""
        if _is_traced(key) or out_sharding is not None:
            return jnp.full(shape, self.value, dtype, out_sharding=out_sharding)
        return jax.device_put(np.full(shape, self.value, dtype))


@dataclasses.dataclass(frozen=True)
class Normal:
    """An initialiser that draws from a normal distribution around zero."""

    stddev: float

    def __call__(
        self,
        key: Array,
        shape: Sequence[int],
        dtype: Any = jnp.float32,
        out_sharding: Any = None,
    ) -> Float[Array, "..."]:
        """Draws an array of a shape."""
        values = _draw(jax.random.normal, key, shape, dtype, out_sharding)
        return _scaled(values, np.asarray(self.stddev, dtype))


@dataclasses.dataclass(frozen=True)
class Uniform:
    """An initialiser that draws evenly between a bound's negative and the bound."""

    bound: float

    def __call__(
        self,
        key: Array,
        shape: Sequence[int],
        dtype: Any = jnp.float32,
        out_sharding: Any = None,
    ) -> Float[Array, "..."]:
        """Draws an array of a shape."""
        bounds = {"minval": np.asarray(-self.bound, dtype), "maxval": np.asarray(self.bound, dtype)}
        values = _draw(jax.random.uniform, key, shape, dtype, out_sharding, **bounds)
        return _scaled(values, np.ones((), dtype))


@dataclasses.dataclass(frozen=True)
class VarianceScaling:
    """An initialiser whose variance is `scale` by the number of inputs or outputs of a layer.

    The last axis of a kernel holds the outputs, the last but one the inputs.
    """

    scale: float
    mode: Literal["fan_in", "fan_out"]
    distribution: Literal["normal", "uniform"]

    def __call__(
        self,
        key: Array,
        shape: Sequence[int],
        dtype: Any = jnp.float32,
        out_sharding: Any = None,
    ) -> Float[Array, "..."]:
        """Draws an array of a shape."""
        fan = math.prod(shape) // shape[-1 if self.mode == "fan_in" else -2]
        variance = np.asarray(self.scale / fan, dtype)
        if self.distribution == "normal":
            values = _draw(jax.random.normal, key, shape, dtype, out_sharding)
            return _scaled(values, np.sqrt(variance))
        bounds = {"minval": np.asarray(-1, dtype), "maxval": np.asarray(1, dtype)}
        values = _draw(jax.random.uniform, key, shape, dtype, out_sharding, **bounds)
        return _scaled(values, np.sqrt(np.asarray(3, dtype) * variance))


zeros, ones = Filled(0.0), Filled(1.0)


def xavier_uniform(fan_in: int, fan_out: int) -> Uniform:
    """The initialiser of a layer with so many inputs and outputs, as torch's `xavier_uniform_`."""
    return Uniform(math.sqrt(6 / (fan_in + fan_out)))


def _draw(
    distribution: Callable[..., Array],
    key: Array,
    shape: Sequence[int],
    dtype: Any,
    out_sharding: Any,
    **bounds: np.ndarray,
) -> Array | np.ndarray:
    """Draws an array, which comes on the host where that saves a compilation."""
    count = math.prod(shape)
    enough = [size for size in _SIZES if size >= count]
    if _is_traced(key) or out_sharding is not None or not enough or not _draws_by_index(key):
        return distribution(key, tuple(shape), dtype, **bounds, out_sharding=out_sharding)
    return np.asarray(distribution(key, enough[:1], dtype, **bounds))[:count].reshape(shape)


def _scaled(values: Array | np.ndarray, factor: np.ndarray) -> Array:
    # Host and device round the same, but the device would compile a program for each shape, and
    # `jnp.asarray` another.
    return jax.device_put(values * factor)


def _is_traced(key: Array) -> bool:
    return isinstance(key, Tracer)


def _draws_by_index(key: Array) -> bool:
    """Whether a value depends on the key and its index alone, however many are drawn."""
    threefry = str(jax.random.key_impl(key)) == "threefry2x32"
    return threefry and jax.threefry_partitionable.value
