"""Programs as ONNX, by jax2onnx: images that fill arrays of one size, in any number.

jax2onnx takes what it knows of JAX's functions in place of these while it traces. It is handed a
program that binds JAX's operators one by one (`folding`), in which those that it lacks are written
otherwise (`onnx_rewriting`) and loops are ONNX's own operators (`onnx_operators`). It meets none of
these functions but those that make a model faster (`onnx_fusion`).
"""

import contextlib
import io
import json
import logging
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax import export
from jaxtyping import Array, Int, PyTree, UInt8

from gcnet_jax.errors import InputError, printable
from gcnet_jax.export import onnx_operators
from gcnet_jax.export.folding import folded
from gcnet_jax.export.onnx_fusion import maximum_as_relu, product_as_convolution
from gcnet_jax.export.onnx_rewriting import REWRITTEN
from gcnet_jax.task import ArrayShapes, Outputs, Program
from gcnet_jax.task.exported import Size

_LONGEST_REASON = 160
_OPSET = 21
"""The newest set of operators in which onnxruntime 1.32 has RoIAlign on CPUs."""
_REMEDY = "pip install 'gcnet-jax[onnx]'"


def check_onnx_installed() -> None:
    """Raises InputError unless what writes and what runs ONNX models is installed."""
    _jax2onnx()
    _onnxruntime()


def write_onnx(
    path: epath.Path,
    program: Program,
    variables: PyTree,
    size: Size,
    metadata: Mapping[str, Any],
) -> None:
    """Writes a program with its weights as an ONNX model.

    Args:
        path: of the file.
        program: called without sizes of images.
        variables: of the network.
        size: height and width of all arrays.
        metadata: values of JSON, by names.

    Raises:
        InputError: jax2onnx is not installed, or lacks an operator of the program.
    """
    jax2onnx = _jax2onnx()
    (batch,) = export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *size, 3), jnp.uint8)
    names = list(program.results)

    def results(images: UInt8[Array, "b h w 3"]) -> list[Array]:
        found = program.run(variables, images)
        return [found[name] for name in names]

    run = folded(results, images, rewritten={**REWRITTEN, **program.rewritten})
    fused = {"dot_general": product_as_convolution, "max": maximum_as_relu}
    run = folded(run, images, rewritten=fused)
    onnx_operators.register()
    try:
        with _quiet():
            model: Any = jax2onnx.to_onnx(
                lambda images: tuple(run(images)),
                [images],
                input_names=["images"],
                output_names=names,
                opset=_OPSET,
            )
    except Exception as error:  # of a converter that ends in whatever it meets
        raise InputError(
            f"jax2onnx cannot convert {_operator_in(error)} of this network ({_reason(error)}); "
            "--to=stablehlo writes it"
        ) from error
    for name, value in metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = name, json.dumps(value)
    path.write_bytes(model.SerializeToString())


class OnnxProgram:
    """An ONNX model in onnxruntime on the CPU: a `gcnet_jax.task.RunProgram`.

    Args:
        path: of the file.

    Attributes:
        shapes: the one height and width of its arrays.

    Raises:
        InputError: onnxruntime is not installed, or does not take the model.
    """

    def __init__(self, path: epath.Path):
        onnxruntime = _onnxruntime()
        try:
            self._session = onnxruntime.InferenceSession(
                path.read_bytes(), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # of classes that onnxruntime does not document
            raise InputError(f"onnxruntime does not take {path.name} ({_reason(error)})") from error
        _, height, width, _ = self._session.get_inputs()[0].shape
        self.shapes = ArrayShapes(only=[(height, width)])

    def __call__(
        self, images: UInt8[Any, "b h w 3"], sizes: Int[Any, "b 2"] | None = None
    ) -> Outputs:
        """The results of a batch; all images fill their arrays."""
        del sizes
        names = [output.name for output in self._session.get_outputs()]
        found: Any = self._session.run(names, {"images": np.asarray(images)})
        return dict(zip(names, found, strict=True))


def _jax2onnx() -> Any:
    """The converter, a module of the extra `onnx`; raises InputError if it is not installed."""
    try:
        import jax2onnx  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise _lacking("jax2onnx", error) from error
    return jax2onnx


def _onnxruntime() -> Any:
    """What runs models, a module of the extra `onnx`; raises InputError if it is not installed."""
    try:
        import onnxruntime  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise _lacking("onnxruntime", error) from error
    return onnxruntime


def _lacking(name: str, error: ImportError) -> InputError:
    return InputError(f"--to=onnx needs {name} ({error}): {_REMEDY}")


def _reason(error: Exception) -> str:
    """The beginning of what an error says, in one line."""
    return printable(" ".join(str(error).split())[:_LONGEST_REASON]) or type(error).__name__


def _operator_in(error: Exception) -> str:
    """The operator of JAX that a converter ended at, in words, by the name of its module."""
    modules = [
        frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)
    ]
    last = [name for name in modules if name.startswith("jax2onnx.plugins.jax.")][-1:]
    return f"the operator {last[0].rpartition('.')[2]!r}" if last else "something"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps to itself what jax2onnx says of its own progress."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(level)
