"""Linear functions that bring their own transposes, for derivatives in both modes, of any order.

What has a `jax.custom_vjp` cannot be differentiated in forward mode, and of what has a
`jax.custom_jvp` JAX transposes the tangents as it does everything. So this is a primitive of its
own: a tangent is the function itself, of the tangents of its operands; what else it depends on, its
residuals, has no derivative; and its transpose is differentiated in its turn. `bilinear` is the
same for functions of two arrays that are linear in each.
"""

import abc
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, Primitive, jaxpr_as_fun
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array

from gcnet_jax.ops.varying import varying_alike


class Linear(abc.ABC):
    """A function of arrays that is linear in some of them, with its transpose.

    Subclasses are frozen dataclasses, whose fields are all that the functions depend on beside
    their arguments. `jax.vmap` runs it for one element after the other.
    """

    @abc.abstractmethod
    def product(self, residuals: Any, operands: Any) -> Any:
        """The function itself: of trees of arrays, linear in `operands`."""

    @abc.abstractmethod
    def transpose(self, residuals: Any, cotangents: Any) -> Any:
        """The cotangents of the operands, from those of the result."""

    def __call__(self, residuals: Any, operands: Any) -> Any:
        """Returns `product`; residuals are taken for constants by derivatives.

        Both functions get arrays that vary over the same axes of a `jax.shard_map`.
        """
        flat, both = jax.tree.flatten((residuals, operands))
        residuals, operands = jax.tree.unflatten(both, varying_alike(*flat))
        flat_residuals, tree = jax.tree.flatten(residuals)
        flat_operands, in_tree = jax.tree.flatten(operands)
        out_tree = jax.tree.structure(jax.eval_shape(self.product, residuals, operands))
        trees = (tree, in_tree, out_tree)
        flat = _bind(self, trees, False, flat_residuals, flat_operands)
        return jax.tree.unflatten(out_tree, flat)


_linear = Primitive("linear")
_linear.multiple_results = True


def _bind(form: Linear, trees: tuple, turned: bool, residuals: Any, operands: Any) -> list[Array]:
    """Results of the function, or of its transpose if `turned`, as flat as its arguments."""
    tree, in_tree, out_tree = trees
    function, operands_tree = (form.transpose, out_tree) if turned else (form.product, in_tree)
    count = len(residuals)

    def flat(*arguments: Array) -> list[Array]:
        results = function(
            jax.tree.unflatten(tree, arguments[:count]),
            jax.tree.unflatten(operands_tree, arguments[count:]),
        )
        return jax.tree.leaves(results)

    # Traced here, where the caller's context holds, and kept where what counts operations sees it.
    jaxpr = jax.jit(flat).trace(*residuals, *operands).jaxpr
    arguments = (*residuals, *operands)
    return _linear.bind(*arguments, form=form, trees=trees, turned=turned, count=count, jaxpr=jaxpr)


def _program(*arguments: Array, jaxpr: ClosedJaxpr, **_: Any) -> list[Array]:
    return jaxpr_as_fun(jaxpr)(*arguments)


@_linear.def_impl
def _evaluate(*arguments: Array, jaxpr: ClosedJaxpr, **_: Any) -> list[Array]:
    return jax.jit(jaxpr_as_fun(jaxpr))(*arguments)


@_linear.def_abstract_eval
def _shapes(*_: Any, jaxpr: ClosedJaxpr, **__: Any) -> Any:
    return jaxpr.out_avals


def _tangents(primals: Any, tangents: Any, *, form, trees, turned, count, jaxpr) -> Any:
    del jaxpr
    residuals, operands = primals[:count], primals[count:]
    results = _bind(form, trees, turned, residuals, operands)
    if all(isinstance(tangent, ad.Zero) for tangent in tangents[count:]):
        return results, [ad.Zero(jax.typeof(result).to_tangent_aval()) for result in results]
    dense = [ad.instantiate_zeros(tangent) for tangent in tangents[count:]]
    return results, _bind(form, trees, turned, residuals, dense)


def _transposed(cotangents: Any, *arguments: Any, form, trees, turned, count, jaxpr) -> Any:
    del jaxpr
    dense = [ad.instantiate_zeros(cotangent) for cotangent in cotangents]
    results = _bind(form, trees, not turned, arguments[:count], dense)
    wanted = [ad.is_undefined_primal(operand) for operand in arguments[count:]]
    return [None] * count + [
        result if asked else None for result, asked in zip(results, wanted, strict=True)
    ]


def _batched(
    arguments, axes, *, form, trees, turned, count, jaxpr
) -> tuple[list[Array], list[int]]:
    """The rule of `jax.vmap`: a loop, in which what is not mapped is not copied."""
    del jaxpr
    mapped = [
        jnp.moveaxis(x, axis, 0)
        for x, axis in zip(arguments, axes, strict=True)
        if axis is not None
    ]

    def one(elements: list[Array]) -> list[Array]:
        own = iter(elements)
        whole = [x if axis is None else next(own) for x, axis in zip(arguments, axes, strict=True)]
        return _bind(form, trees, turned, whole[:count], whole[count:])

    results = lax.map(one, mapped)
    return results, [0] * len(results)


ad.primitive_jvps[_linear] = _tangents
ad.primitive_transposes[_linear] = _transposed
batching.primitive_batchers[_linear] = _batched
mlir.register_lowering(_linear, mlir.lower_fun(_program, multiple_results=True))
