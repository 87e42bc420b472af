"""Checks of what modules are made with, and of what they are called on.

Everything here is known when a function is traced (types, shapes, dtypes), so that the checks hold
under `jax.jit`, `jax.vmap` and `jax.grad` as well and cost nothing when the program runs.
"""

from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from gcnet_jax.errors import InputError

_SPATIAL_AXES = {0: "no", 1: "one", 2: "two", 3: "three"}


# What modules are made with ----------------------------------------------------------------------


def check_count(name: str, value: Any) -> None:
    """Raises InputError unless a value is a whole number from 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise InputError(f"{name} is {value!r}; expected 1 or more, a whole number")


def check_groups(groups: int, *channels: int) -> None:
    """Raises InputError unless numbers of channels divide into equal groups."""
    if any(count % groups for count in channels):
        raise InputError(
            f"{' and '.join(map(str, channels))} channels do not divide into groups of equal size; "
            f"groups is {groups}"
        )


def check_seed(seed: Any) -> None:
    """Raises InputError unless a value is a whole number from 0 that fits into 32 bits."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**31:
        raise InputError(f"seed is {seed!r}; expected a whole number from 0 to {2**31 - 1}")


def check_choice(name: str, value: Any, allowed: Collection[Any]) -> None:
    """Raises InputError unless a value is one of a few."""
    if not any(type(value) is type(one) and value == one for one in allowed):
        raise InputError(f"{name} is {value!r}; expected one of {tuple(allowed)}")


def check_number(name: str, value: Any) -> None:
    """Raises InputError unless a value is a real number, NaN and infinity among them."""
    is_number = isinstance(value, int | float | np.integer | np.floating)
    if not is_number or isinstance(value, bool):
        raise InputError(f"{name} is {value!r}; expected a number")


def check_fraction(name: str, value: Any, *, below_one: bool = False) -> None:
    """Raises InputError unless a value is a number from 0 to 1, perhaps without 1 itself."""
    check_number(name, value)
    if not 0 <= value <= 1 or (below_one and value == 1):
        end = "less than 1" if below_one else "1"
        raise InputError(f"{name} is {value!r}; expected a number from 0 to {end}")


def check_compute_dtype(dtype: Any) -> None:
    """Raises InputError unless networks can compute in a dtype."""
    try:
        known = None if dtype is None else jnp.dtype(dtype)
    except TypeError:
        known = None
    if known is None or not jnp.issubdtype(known, jnp.floating) or known.itemsize < 2:
        raise InputError(f"dtype is {dtype!r}; expected float32, bfloat16 or another float dtype")


# What they are called on -------------------------------------------------------------------------


def check_features(
    x: Any,
    channels: int,
    mask: Any = None,
    *,
    spatial_axes: Collection[int] = (1, 2, 3),
) -> None:
    """Raises InputError unless `x` is `(batch, *spatial, channels)` of floats, none of them empty.

    Args:
        x: the features.
        channels: that they must have.
        mask: true where they are, if not everywhere; one value a position.
        spatial_axes: how many axes `*spatial` may stand for.
    """
    check_floats(x, "features")
    if x.ndim - 2 not in spatial_axes:
        *others, last = (_SPATIAL_AXES[count] for count in spatial_axes)
        numbers = f"{', '.join(others)} or {last}" if others else last
        plural = "axes" if spatial_axes != (1,) else "axis"
        raise InputError(
            f"features have the shape {x.shape}; expected (batch, *spatial, channels) with "
            f"{numbers} spatial {plural}"
        )
    if x.shape[-1] != channels:
        raise InputError(
            f"features have the shape {x.shape}; expected {channels} channels on the last axis"
        )
    if 0 in x.shape:
        raise InputError(f"features have the shape {x.shape}; expected at least one on every axis")
    check_mask(mask, x)


def check_mask(mask: Any, x: Any) -> None:
    """Raises InputError unless a mask is true or false for each position of `x`, or None."""
    if mask is None:
        return
    shape, dtype = getattr(mask, "shape", None), getattr(mask, "dtype", None)
    if shape != x.shape[:-1] or dtype != np.dtype(bool):
        raise InputError(
            f"the mask has the shape {shape} and the dtype {dtype}; expected true or false for "
            f"each position, {x.shape[:-1]}"
        )


def check_floats(x: Any, what: str) -> None:
    """Raises InputError unless `x` is an array of floating point numbers."""
    if not isinstance(x, jax.Array | np.ndarray):
        raise InputError(f"{what} are a {type(x).__name__}; expected an array")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise InputError(f"{what} have the dtype {x.dtype}; expected floats")


def check_queries(queries: Any, positions: int) -> None:
    """Raises InputError unless queries are a row of whole numbers, below the number of positions.

    How large they are is seen outside of compiled functions alone.
    """
    if queries is None:
        return
    if not isinstance(queries, jax.Array | np.ndarray):
        raise InputError(f"queries are a {type(queries).__name__}; expected an array")
    if queries.ndim != 1 or not jnp.issubdtype(queries.dtype, jnp.integer):
        raise InputError(
            f"queries have the shape {queries.shape} and the dtype {queries.dtype}; expected a row "
            "of whole numbers"
        )
    if isinstance(queries, Tracer) or queries.size == 0:
        return
    least, most = int(queries.min()), int(queries.max())
    if least < 0 or most >= positions:
        raise InputError(
            f"queries go from {least} to {most}; expected positions from 0 to {positions - 1}"
        )
