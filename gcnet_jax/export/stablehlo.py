"""Programs as StableHLO, for CPUs, NVIDIA's GPUs and TPUs at once: written, checked and called.

A program takes the weights by their names, a batch of images, whose number is left open, and their
sizes. Where heights and widths are left open too, one program is for all of them.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jaxtyping import Int, PyTree, Shaped, UInt8

from gcnet_jax.errors import InputError
from gcnet_jax.parallel import compile_for
from gcnet_jax.task import ArrayShapes, Outputs, Program, Signature
from gcnet_jax.task.exported import Size

PLATFORMS = ("cpu", "cuda", "tpu")

Weights = Mapping[str, Shaped[Any, "..."]]

_KNOWN_CALLS = ("shape_assertion", "mhlo.topk", "stablehlo.dynamic_top_k")
"""Calls out of a program that XLA answers itself: it checks shapes by them, and sorts."""


def named_weights(variables: PyTree) -> dict[str, Any]:
    """The arrays of a network, or their shapes, by names of one string each."""
    leaves = jax.tree.leaves_with_path(variables)
    return {jax.tree_util.keystr(path, simple=True, separator="."): x for path, x in leaves}


def used_weights(program: Program, variables: PyTree) -> set[str]:
    """The names of the arrays that a program needs; others were for training alone."""
    run, (weights, *arrays) = _without_weights(program, variables, shapes_of(program)[0])
    jaxpr = jax.make_jaxpr(run)(weights, *arrays).jaxpr
    used = {id(x) for equation in jaxpr.eqns for x in equation.invars} | set(map(id, jaxpr.outvars))
    return {name for name, x in zip(sorted(weights), jaxpr.invars, strict=False) if id(x) in used}


def shapes_of(program: Program) -> list[Size | None]:
    """The shapes of arrays that a program is exported for one by one; None: for all at once."""
    return list(program.shapes.only) or [None]


def export_program(
    program: Program, variables: PyTree, used: set[str], shape: Size | None
) -> bytes:
    """A program of a network, serialized.

    Args:
        program: without weights.
        variables: of the network, or their shapes.
        used: the names of the arrays that it needs, which a file holds.
        shape: one of `shapes_of`.
    """
    return bytes(_exported(program, variables, shape, used).serialize())


class StableHLOProgram:
    """A program out of a file with its weights: a `gcnet_jax.task.RunProgram`.

    Args:
        serialized: from `export_program`.
        shapes: that its arrays may have.
        weights: by their names, on the device.
        results: the names of its results.
        takes_sizes: whether it takes sizes of images.

    Attributes:
        shapes: the heights and widths of its arrays.

    Raises:
        InputError: there is no such program, or it takes or does what it should not.
    """

    def __init__(
        self,
        serialized: Mapping[Size | None, bytes],
        shapes: ArrayShapes,
        weights: Weights,
        *,
        results: Sequence[str],
        takes_sizes: bool,
    ):
        self.shapes, self._weights, self._takes_sizes = shapes, weights, takes_sizes
        programs = {
            shape: _checked(content, shape, shapes.multiple, weights, results, takes_sizes)
            for shape, content in serialized.items()
        }
        self._results = [_results_of(program) for program in programs.values()]
        self._run = {shape: compile_for(None, program.call) for shape, program in programs.items()}

    def check(self, signature: Signature) -> None:
        """Raises InputError unless it takes and returns what it is called with and for."""
        if self._takes_sizes != signature.takes_sizes:
            raise InputError(
                f"its program {'takes' if self._takes_sizes else 'does not take'} sizes of images"
            )
        for results in self._results:
            if results.keys() != signature.results.keys():
                raise InputError(
                    f"its program returns {', '.join(sorted(results))}; expected "
                    f"{', '.join(sorted(signature.results))}"
                )
            lengths: dict[int | str, str] = {}
            for name, (dtype, expected) in signature.results.items():
                found_dtype, found = results[name]
                same = len(found) == len(expected) and all(
                    length == (lengths.setdefault(x, length) if isinstance(x, str) else str(x))
                    for length, x in zip(found, expected, strict=True)
                )
                if found_dtype != dtype or not same:
                    raise InputError(
                        f"the {name} of its program are {found_dtype} of ({', '.join(found)}) for "
                        f"each image; expected {dtype} of ({', '.join(map(str, expected))})"
                    )

    def __call__(
        self, images: UInt8[Any, "b h w 3"], sizes: Int[Any, "b 2"] | None = None
    ) -> Outputs:
        """The results of a batch, under way.

        Raises:
            InputError: it is for arrays of other shapes.
        """
        shape = (images.shape[1], images.shape[2])
        if self.shapes.for_image(shape) != shape:
            raise InputError(
                f"the exported file has no program for arrays of {shape[0]}x{shape[1]}; the "
                "config's scale or crop is another than that of the run it is from"
            )
        run = self._run[shape if self.shapes.only else None]
        rest = (np.asarray(sizes, np.int32),) if self._takes_sizes else ()
        return run(self._weights, images, *rest)


def _exported(
    program: Program, variables: PyTree, shape: Size | None, used: set[str]
) -> export.Exported:
    run, (weights, *arrays) = _without_weights(program, variables, shape)
    weights = {name: x for name, x in weights.items() if name in used}
    return export.export(jax.jit(run), platforms=PLATFORMS)(weights, *arrays)


def _without_weights(
    program: Program, variables: PyTree, shape: Size | None
) -> tuple[Callable[..., Outputs], list[Any]]:
    """A program as a function of weights by their names, and the shapes of its arguments."""
    named, structure = named_weights(variables), jax.tree.structure(variables)

    def run(weights: Weights, *arrays: Any) -> Outputs:
        # What the program has no use for leaves no trace in it.
        of_model = [
            weights[name] if name in weights else jnp.zeros(x.shape, x.dtype)
            for name, x in named.items()
        ]
        return dict(program.run(structure.unflatten(of_model), *arrays))

    batch, height, width = _dimensions(program.shapes.multiple, shape)
    arrays = [jax.ShapeDtypeStruct((batch, height, width, 3), jnp.uint8)]
    if program.takes_sizes:
        arrays.append(jax.ShapeDtypeStruct((batch, 2), jnp.int32))
    shapes = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in named.items()}
    return run, [shapes, *arrays]


def _dimensions(multiple: int, shape: Size | None) -> tuple[Any, ...]:
    """The number of images, their height and their width, of which some are left open."""
    if shape is not None:
        return (*export.symbolic_shape("batch"), *shape)
    return tuple(export.symbolic_shape(f"batch, {multiple}*h, {multiple}*w"))


def _checked(
    serialized: bytes,
    shape: Size | None,
    multiple: int,
    weights: Weights,
    results: Sequence[str],
    takes_sizes: bool,
) -> export.Exported:
    """A program, once it is clear that it takes these arrays and calls nothing outside of it."""
    try:
        program = export.deserialize(bytearray(serialized))
        text = program.mlir_module()
    except ImportError:  # of flatbuffers, which jax.export needs and jax does not declare
        raise
    except Exception as error:  # of a parser of somebody else's, on somebody else's bytes
        raise InputError(
            f"a program of it cannot be read by jax {jax.__version__} ({type(error).__name__})"
        ) from error
    batch, *edges = map(str, _dimensions(multiple, shape))
    arrays = [("uint8", [batch, *edges, "3"])] + [("int32", [batch, "2"])] * takes_sizes
    given = ((dict.fromkeys(weights, 0), *(0 for _ in arrays)), {})
    expected = jax.tree.structure(given)
    of_weights = [(weights[name].shape, weights[name].dtype) for name in sorted(weights)]
    taken = [(x.shape, x.dtype) for x in program.in_avals[: len(of_weights)]]
    rest = [(str(x.dtype), [*map(str, x.shape)]) for x in program.in_avals[len(of_weights) :]]
    if program.in_tree != expected or taken != of_weights or rest != arrays:
        raise InputError("a program of it takes other arrays than the file says")
    if program.out_tree != jax.tree.structure(dict.fromkeys(results, 0)) or any(
        [*map(str, x.shape[:1])] != [batch] for x in program.out_avals
    ):
        raise InputError("a program of it returns other results than the file says")
    if program.nr_devices != 1 or program.ordered_effects or program.unordered_effects:
        raise InputError("a program of it is none of one device without side effects")
    known = "|".join(map(re.escape, _KNOWN_CALLS))
    if len(re.findall("custom_call", text)) != len(re.findall(rf"custom_call @({known})\(", text)):
        raise InputError("a program of it calls what is outside of it, which is not run")
    return program


def _results_of(program: export.Exported) -> dict[str, tuple[str, list[str]]]:
    """The dtype of each result by its name, and its lengths behind the batch's."""
    results = jax.tree.unflatten(program.out_tree, program.out_avals)
    return {name: (str(x.dtype), [*map(str, x.shape[1:])]) for name, x in results.items()}
