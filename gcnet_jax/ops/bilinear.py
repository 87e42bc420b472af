"""Bilinear functions that bring their own transposes, for derivatives in both modes, of any order.

JAX derives the gradient of a convolution or a matrix product by transposing it, and leaves no say
in how that is computed: what has a `jax.custom_vjp` cannot be differentiated in forward mode, and
of what has a `jax.custom_jvp` the tangents are transposed as JAX does it. So this is a primitive of
its own, which is treated as JAX's own convolution is: a tangent is the function itself, of the
tangent of one operand and the other operand; nothing but the operands is kept for gradients; and a
transpose is of the same family, so that it is differentiated in its turn.
"""

import abc
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Primitive, jaxpr_as_fun
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array

from gcnet_jax.ops.varying import varying_alike

_FIRST, _SECOND, _PRODUCT = range(3)
"""The roles of the three arrays: any two make the third."""


class SharedAxes(NamedTuple):
    """Axes that two of the three arrays have in common, of any length, and the third has not.

    Each pair of negative indices is in the order of the name; None where there is no such axis.
    """

    first_and_second: tuple[int, int] | None
    first_and_product: tuple[int, int] | None
    second_and_product: tuple[int, int] | None


class Bilinear(abc.ABC):
    """A function of two arrays that is linear in each, with its transposes.

    Subclasses are frozen dataclasses, whose fields are all that the functions depend on beside
    their arguments: what is equal is traced and compiled once.
    """

    @property
    @abc.abstractmethod
    def shared_axes(self) -> SharedAxes:
        """Where `jax.vmap` of one operand puts what is mapped."""

    @abc.abstractmethod
    def product(self, first: Array, second: Array) -> Array:
        """The function itself."""

    @abc.abstractmethod
    def by_first(self, second: Array, cotangent: Array) -> Array:
        """The transpose of `product` as a function of the first, at a cotangent of the product."""

    @abc.abstractmethod
    def by_second(self, first: Array, cotangent: Array) -> Array:
        """The transpose of `product` as a function of the second."""

    def __call__(self, first: Array, second: Array) -> Array:
        """Returns `product`; differentiable by the transposes, as often as wanted."""
        return _bind(self, _PRODUCT, first, second)


@dataclasses.dataclass(frozen=True)
class _Mapped(Bilinear):
    """`jax.vmap` of another over the leading axis of all arrays."""

    one: Bilinear

    @property
    def shared_axes(self) -> SharedAxes:
        return self.one.shared_axes

    def product(self, first: Array, second: Array) -> Array:
        return jax.vmap(self.one.product)(first, second)

    def by_first(self, second: Array, cotangent: Array) -> Array:
        return jax.vmap(self.one.by_first)(second, cotangent)

    def by_second(self, first: Array, cotangent: Array) -> Array:
        return jax.vmap(self.one.by_second)(first, cotangent)


_bilinear = Primitive("bilinear")


def _bind(form: Bilinear, wanted: int, *operands: Array) -> Array:
    """The array of the `wanted` role, from those of the two others in order."""
    operands = varying_alike(*operands)
    # Traced here, where the caller's context holds, and kept where what counts operations sees it.
    jaxpr = _apply.trace(form, wanted, *operands).jaxpr
    return _bilinear.bind(*operands, form=form, wanted=wanted, jaxpr=jaxpr)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _apply(form: Bilinear, wanted: int, *operands: Array) -> Array:
    function = {_FIRST: form.by_first, _SECOND: form.by_second, _PRODUCT: form.product}[wanted]
    return function(*operands)


def _others(wanted: int) -> tuple[int, int]:
    first, second = (role for role in range(3) if role != wanted)
    return first, second


@_bilinear.def_impl
def _evaluate(*operands: Array, form: Bilinear, wanted: int, jaxpr: ClosedJaxpr) -> Array:
    del jaxpr
    return _apply(form, wanted, *operands)


@_bilinear.def_abstract_eval
def _shape(*_: Any, jaxpr: ClosedJaxpr, **__: Any) -> Any:
    return jaxpr.out_avals[0]


def _program(*operands: Array, jaxpr: ClosedJaxpr, **_: Any) -> Array:
    return jaxpr_as_fun(jaxpr)(*operands)[0]


def _transposed(position: int, cotangent: Array, *operands: Any, form, wanted, jaxpr) -> Array:
    """The cotangent of the operand at `position`, from that of the result and the other operand."""
    del jaxpr
    roles = _others(wanted)
    given = {wanted: cotangent, roles[1 - position]: operands[1 - position]}
    return _bind(form, roles[position], *(given[role] for role in sorted(given)))


def _batched(operands, axes, *, form, wanted, jaxpr) -> tuple[Array, int]:
    """The rule of `jax.vmap`: the mapped axis of one operand joins the axis that it may lengthen.

    If both are mapped, or there is no such axis, all three arrays are.
    """
    del jaxpr
    mapped = [position for position, axis in enumerate(axes) if axis is not None]
    position = mapped[0]
    shared = _shared(form, _others(wanted)[position], wanted)
    if len(mapped) == 2 or shared is None:
        count = operands[position].shape[axes[position]]
        moved = (
            jnp.broadcast_to(x, (count, *x.shape)) if axis is None else jnp.moveaxis(x, axis, 0)
            for x, axis in zip(operands, axes, strict=True)
        )
        return _bind(_Mapped(form), wanted, *moved), 0
    into, out_of = shared
    moved = jnp.moveaxis(operands[position], axes[position], into - 1)  # ahead of what it joins
    at = moved.ndim + into
    count, length = moved.shape[at - 1 : at + 1]
    joined = list(operands)
    joined[position] = moved.reshape(*moved.shape[: at - 1], count * length, *moved.shape[at + 1 :])
    result = _bind(form, wanted, *joined)
    at = result.ndim + out_of
    return result.reshape(*result.shape[:at], count, length, *result.shape[at + 1 :]), at


def _shared(form: Bilinear, role: int, other: int) -> tuple[int, int] | None:
    """The axis in the array of one role, and the same in another's, if there is one."""
    if role > other:
        shared = _shared(form, other, role)
        return shared and (shared[1], shared[0])
    of_first_and_second, of_first_and_product, of_second_and_product = form.shared_axes
    if other == _SECOND:
        return of_first_and_second
    return of_first_and_product if role == _FIRST else of_second_and_product


ad.defbilinear(_bilinear, functools.partial(_transposed, 0), functools.partial(_transposed, 1))
batching.primitive_batchers[_bilinear] = _batched
mlir.register_lowering(_bilinear, mlir.lower_fun(_program, multiple_results=False))
