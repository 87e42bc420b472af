"""What a task says of exported files: the programs from pixels to results that are in them."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import jax
from etils import epath
from flax import nnx
from jaxtyping import Array, Int, PyTree, Shaped, UInt8
from ml_collections import ConfigDict

from gcnet_jax.errors import InputError
from gcnet_jax.task.agreement import Measure

M = TypeVar("M")

Size = tuple[int, int]
"""Height and width in pixels."""
Outputs = Mapping[str, Shaped[Array, "b *rest"]]
"""The results of a program by their names, each of all images of a batch."""


@dataclasses.dataclass(frozen=True)
class ArrayShapes:
    """The heights and widths that arrays of images may have.

    Attributes:
        multiple: all of which are multiples of this.
        only: those there are; none: every multiple.
    """

    multiple: int = 1
    only: Sequence[Size] = ()

    def for_image(self, size: Size) -> Size:
        """The smallest shape that an image fits into.

        Raises:
            InputError: it fits into none.
        """
        height, width = size
        if not self.only:
            height, width = (-(-length // self.multiple) * self.multiple for length in size)
            return height, width
        fitting = [x for x in self.only if x[0] >= height and x[1] >= width]
        if not fitting:
            shapes = ", ".join(f"{rows}x{columns}" for rows, columns in self.only)
            raise InputError(f"an image of {height}x{width} fits into no array of {shapes}")
        return min(fitting, key=math.prod)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """A way from 8-bit pixels to results, as a pure function.

    Attributes:
        run: takes a network's variables, images `(batch, height, width, 3)`, RGB of 8 bits, and if
            `takes_sizes` the (height, width) of each image at the top left of its array, which is
            zero around it; returns the results by their names. Without sizes images fill arrays.
        results: what each of them is, in words.
        shapes: the heights and widths of its arrays.
        measure: compares what two ways to run it say of an image.
        takes_sizes: whether images may be smaller than their arrays.
        rewritten: what ONNX models have in place of functions under `jax.jit` and of operators, by
            their names, see `gcnet_jax.export.folding`.
    """

    run: Callable[..., Outputs]
    results: Mapping[str, str]
    shapes: ArrayShapes
    measure: Measure
    takes_sizes: bool = True
    rewritten: Mapping[str, Callable[..., Any]] = dataclasses.field(default_factory=dict)


class RunProgram(Protocol):
    """A program with its weights."""

    @property
    def shapes(self) -> ArrayShapes:
        """The heights and widths of its arrays."""
        ...

    def __call__(
        self, images: UInt8[Any, "b h w 3"], sizes: Int[Any, "b 2"] | None = None
    ) -> Outputs:
        """The results of a batch, see `Program.run`; they may be under way.

        Sizes are for programs that take them, which are not called without.
        """
        ...


class CompiledProgram:
    """A `RunProgram` of a model, compiled for each shape of batches on first use.

    Args:
        program: without weights.
        variables: of the model.

    Attributes:
        shapes: the heights and widths of its arrays.
        measure: compares what it says of an image with what another way to run it says.
    """

    def __init__(self, program: Program, variables: PyTree):
        self.shapes, self.measure = program.shapes, program.measure
        self._run, self._variables = jax.jit(program.run), variables
        self._takes_sizes = program.takes_sizes

    def __call__(
        self, images: UInt8[Any, "b h w 3"], sizes: Int[Any, "b 2"] | None = None
    ) -> Outputs:
        """The results of a batch, under way."""
        return self._run(self._variables, images, *((sizes,) if self._takes_sizes else ()))


@dataclasses.dataclass(frozen=True)
class ExportedNetwork(Generic[M]):
    """A network out of an exported file, which has programs and no model.

    Attributes:
        programs: by their names.
        meaning: of the results, see `Meaning`.
        source: the file.
    """

    programs: Mapping[str, RunProgram]
    meaning: M
    source: epath.Path


class Signature(NamedTuple):
    """What a program out of a file has to take and to return.

    Attributes:
        results: the dtype of each result by its name, and its lengths behind the batch's: those
            of one name are equal.
        takes_sizes: whether it takes sizes of images.
    """

    results: Mapping[str, tuple[str, tuple[int | str, ...]]]
    takes_sizes: bool = True


@dataclasses.dataclass(frozen=True)
class Export:
    """How a task's networks become programs.

    Attributes:
        programs: those of a model's structure, from `split_for_evaluation`, and a config, by their
            names.
        called: the name of that which makes the results of images that `gcnet_jax.load` is for.
        signature: what that takes and returns, by the run's config and the meaning of
            its results, see `Meaning`.
        seen: what a network sees of an image, RGB of 8 bits, before it lies in an array: the
            resized image, or what is cut out of it.
        seen_in_words: the same, for whoever has nothing but the file.
        most_pixels: of what a network sees of an image.
    """

    programs: Callable[[nnx.GraphDef, ConfigDict], Mapping[str, Program]]
    called: str
    signature: Callable[[ConfigDict, Any], Signature]
    seen: Callable[[UInt8[Any, "h w 3"], ConfigDict], UInt8[Any, "_h _w 3"]]
    seen_in_words: Callable[[ConfigDict], str]
    most_pixels: Callable[[ConfigDict], int]
