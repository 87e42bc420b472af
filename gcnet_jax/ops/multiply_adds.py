"""What a program costs: multiply-adds of its convolutions and matrix products, from its trace."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn


def multiply_adds(function: Callable, *arguments: Any) -> int:
    """Multiply-adds of all convolutions and matrix products of a function, as papers count FLOPs.

    The function is traced, not run, so that arguments may be `jax.ShapeDtypeStruct`s. A product
    inside a loop counts as often as the loop runs; of branches the most expensive counts. What is
    done element by element (normalisation, activation, the sum with a shortcut) does not count;
    bilinear resizing, which is a product with a matrix, does.

    Args:
        function: of arrays.
        *arguments: its arguments, or their shapes.

    Raises:
        ValueError: the function has a loop whose length is not known from its trace.
    """
    return _of_jaxpr(jax.make_jaxpr(function)(*arguments).jaxpr)


def traced_multiply_adds(traced: jax.stages.Traced) -> int:
    """Multiply-adds of `jax.jit(function).trace(*arguments)`, which may have compiler options."""
    return _of_jaxpr(traced.jaxpr.jaxpr)


def _of_jaxpr(jaxpr: Jaxpr) -> int:
    return sum(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation: JaxprEqn) -> int:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracting, _), _ = params["dimension_numbers"]
        left = _shape(equation.invars[0])
        return math.prod(_shape(equation.outvars[0])) * math.prod(left[i] for i in contracting)
    if name == "conv_general_dilated":
        kernel = _shape(equation.invars[1])
        channels_out = kernel[params["dimension_numbers"].rhs_spec[0]]
        products = math.prod(_shape(equation.outvars[0])) * math.prod(kernel) // channels_out
        # In the gradient of a convolution with stride, most inputs are zeros put between the rest.
        return products // math.prod(params["lhs_dilation"])
    inside = [_of_jaxpr(jaxpr) for jaxpr in _inner_jaxprs(params)]
    if name == "while" and any(inside):
        raise ValueError("the cost of a loop of unknown length is not known")
    if name == "cond":
        return max(inside)
    return sum(inside) * (params["length"] if name == "scan" else 1)


def _shape(variable: Any) -> tuple[int, ...]:
    return variable.aval.shape


def _inner_jaxprs(params: dict[str, Any]) -> Iterator[Jaxpr]:
    """The programs that an equation runs, such as the body of a loop or a jitted function."""

    def is_program(x: object) -> bool:
        return isinstance(x, ClosedJaxpr | Jaxpr)

    for leaf in jax.tree.leaves(params, is_leaf=is_program):
        if isinstance(leaf, ClosedJaxpr):
            yield leaf.jaxpr
        elif isinstance(leaf, Jaxpr):
            yield leaf
