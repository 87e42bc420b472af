"""Programs as converters want them: of JAX's own operators alone, and all that is known computed.

What this library adds to JAX's operators (`gcnet_jax.ops`) is written out, and of operators that
differ by platform the one for all others is taken, not that for CPUs. Whatever depends on weights
alone is computed once, such as kernels times the scales of their normalisation.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal
from jaxtyping import Array

_IDENTITIES = ("optimization_barrier", "copy", "copy_p")


Rewrite = Callable[..., Any]
"""Takes the parameters of an operator and its arrays to its results, in a tree.

Of a function under `jax.jit` the arrays are its arguments, keywords by their names, and what is
static lies in `params["jaxpr"]` at best: the results are as long there as the function makes them.
"""


def folded(
    function: Callable[..., Any], *shapes: Any, rewritten: Mapping[str, Rewrite] | None = None
) -> Callable[..., list[Array]]:
    """A function of arrays of some shapes as one that binds JAX's operators one by one.

    Args:
        function: of arrays.
        *shapes: of its arguments, of which some dimensions may be symbolic.
        rewritten: what takes the place of operators by their names, and of functions under
            `jax.jit` by names such as "jit(f)".

    Returns:
        A function of such arrays to the leaves of the results.
    """
    closed = jax.make_jaxpr(function)(*shapes)

    def run(*arrays: Array) -> list[Array]:
        return _evaluated(closed.jaxpr, closed.consts, arrays, rewritten or {})

    return run


def _evaluated(
    jaxpr: Jaxpr, consts: Sequence[Any], arrays: Sequence[Any], rewritten: Mapping[str, Rewrite]
) -> list[Any]:
    values: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
    values.update(zip(jaxpr.invars, arrays, strict=True))

    def value(variable: Any) -> Any:
        return variable.val if isinstance(variable, Literal) else values[variable]

    for equation in jaxpr.eqns:
        results = _results(equation, [value(x) for x in equation.invars], rewritten)
        values.update(zip(equation.outvars, results, strict=True))
    return [value(x) for x in jaxpr.outvars]


def _results(
    equation: JaxprEqn, arrays: list[Any], rewritten: Mapping[str, Rewrite]
) -> Sequence[Any]:
    name, params = equation.primitive.name, equation.params
    called = f"jit({params['name']})" if name == "jit" else name
    if called in rewritten:
        return jax.tree.leaves(rewritten[called](params, *arrays))
    if name == "platform_index":
        return [_default_platform(params)]
    if name in _IDENTITIES:
        return arrays
    if name == "cond" and not isinstance(arrays[0], Tracer):
        branch = params["branches"][int(arrays[0])]
        return _evaluated(branch.jaxpr, branch.consts, arrays[1:], rewritten)
    if (program := _program_of(equation)) is not None:
        return _evaluated(program.jaxpr, program.consts, arrays, rewritten)
    if any(isinstance(x, Tracer) for x in arrays) or _has_open_sizes(equation):
        results = equation.primitive.bind(*arrays, **params)
    else:
        with jax.ensure_compile_time_eval():
            results = equation.primitive.bind(*arrays, **params)
    return results if equation.primitive.multiple_results else [results]


def _default_platform(params: dict[str, Any]) -> int:
    """The place of the branch for platforms that have none of their own."""
    platforms = params["platforms"]
    return next((i for i, names in enumerate(platforms) if names is None), len(platforms) - 1)


def _program_of(equation: JaxprEqn) -> ClosedJaxpr | None:
    """The program that an operator stands for, if it is one that is written out."""
    for key in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        program = equation.params.get(key)
        if equation.primitive.name in ("while", "scan", "cond", "reduce", "sort"):
            return None
        if isinstance(program, ClosedJaxpr):
            return program
        if isinstance(program, Jaxpr):
            return ClosedJaxpr(program, ())
    return None


def _has_open_sizes(equation: JaxprEqn) -> bool:
    if equation.primitive.name == "dim_as_value":
        return True
    shapes: list[Any] = [x.aval for x in (*equation.invars, *equation.outvars)]
    return any(not isinstance(length, int) for x in shapes for length in x.shape)
