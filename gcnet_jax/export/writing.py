"""Exports a network: writes a file, shows that it says what the model says, and keeps it then."""

import contextlib
import dataclasses
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
import rich.console
from etils import epath
from jaxtyping import UInt8
from ml_collections import ConfigDict

from gcnet_jax.data import only_process, resize_image
from gcnet_jax.errors import InputError
from gcnet_jax.export.equality import (
    TOLERANCES,
    Agreement,
    NamedImage,
    agreement_report,
    check_agreement,
    compare,
)
from gcnet_jax.export.exported_file import write_exported
from gcnet_jax.export.network_files import PIXELS, name_of_source, read_programs, stablehlo_file
from gcnet_jax.export.onnx_models import OnnxProgram, check_onnx_installed, write_onnx
from gcnet_jax.files import as_path, in_bucket, open_regular, write_whole
from gcnet_jax.models import split_for_evaluation
from gcnet_jax.task import (
    ArrayShapes,
    CompiledProgram,
    Export,
    PretrainedModel,
    Program,
    RunProgram,
    Task,
)
from gcnet_jax.task.exported import Size
from gcnet_jax.training import run_metadata


def export_stablehlo(
    task: Task,
    config: ConfigDict,
    pretrained: PretrainedModel,
    images: Iterable[tuple[str, UInt8[np.ndarray, "h w 3"]]],
    output: epath.Path,
    *,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Agreement]:
    """Writes a network's exported file, and beside it the report of `report_beside`.

    Args:
        task: of the run.
        config: of the run.
        pretrained: the model with its weights.
        images: RGB of 8 bits by their names, of which the file must say what the model says; they
            are taken two at a time.
        output: the file.
        tell: is told what is done next, for people.

    Returns:
        How far the file is from the model.

    Raises:
        InputError: they disagree, the task does not export, or nothing can be written; no file is
            left.
    """
    export = exports_of(task, config)
    graphdef, variables = split_for_evaluation(pretrained.model)
    programs = export.programs(graphdef, config)

    def write(path: epath.Path) -> None:
        content = stablehlo_file(
            programs,
            variables,
            config,
            pretrained.meaning,
            source=pretrained.source,
            seen=export.seen_in_words(config),
            tell=tell,
        )
        write_exported(path, content)

    compiled = {name: CompiledProgram(x, variables) for name, x in programs.items()}
    seen = (NamedImage(name, export.seen(image, config)) for name, image in images)
    about = {"run": str(pretrained.source), "read_by": f"jax {jax.__version__}"}
    return _keep_if_equal(write, read_programs, compiled, seen, config, output, about, tell)


def export_onnx(
    task: Task,
    config: ConfigDict,
    pretrained: PretrainedModel,
    images: Iterable[tuple[str, UInt8[np.ndarray, "h w 3"]]],
    output: epath.Path,
    *,
    size: Size | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Agreement]:
    """Writes a network's first program as an ONNX model, and beside it the equality report.

    Args:
        task: of the run.
        config: of the run.
        pretrained: the model with its weights.
        images: RGB of 8 bits by their names, of which the file must say what the model says; they
            are resized to fill arrays, and taken two at a time.
        output: the file.
        size: height and width of the arrays; by default the config's crop, or where there are few
            shapes the first of them.
        tell: is told what is done next, for people.

    Returns:
        How far the file is from the model.

    Raises:
        InputError: they disagree, the task or the dtype is not exported, the converter is not there
            or lacks an operator, or nothing can be written; no file is left.
    """
    export = exports_of(task, config)
    if config.model.dtype != "float32":
        raise InputError(
            f"model.dtype is {config.model.dtype!r}, which few that run ONNX compute in; give "
            "--config.model.dtype=float32"
        )
    check_onnx_installed()
    graphdef, variables = split_for_evaluation(pretrained.model)
    name, program = next(iter(export.programs(graphdef, config).items()))
    size = _array_size(program, config, size)
    shapes = ArrayShapes(only=[size])
    program = dataclasses.replace(program, shapes=shapes, takes_sizes=False)
    metadata = {
        **run_metadata(config, pretrained.meaning),
        "source": name_of_source(pretrained.source),
        "input": PIXELS,
        "results": dict(program.results),
    }
    seen = (NamedImage(of, resize_image(export.seen(image, config), size)) for of, image in images)
    about = {"run": str(pretrained.source), "read_by": "onnxruntime"}
    return _keep_if_equal(
        lambda path: write_onnx(path, program, variables, size, metadata),
        lambda path: {name: OnnxProgram(path)},
        {name: CompiledProgram(program, variables)},
        seen,
        config,
        output,
        about,
        tell,
    )


def _array_size(program: Program, config: ConfigDict, given: Size | None) -> Size:
    """The height and width of all arrays of an ONNX model."""
    shapes = program.shapes.only
    if given is None:
        height, width = shapes[0] if shapes else config.data.crop_size
        return height, width
    if shapes and given not in shapes:
        expected = ", ".join(f"{height},{width}" for height, width in shapes)
        raise InputError(f"--size: no images of {given[0]},{given[1]}; expected one of {expected}")
    return given


def exports_of(task: Task, config: ConfigDict) -> Export:
    """How a task exports; raises InputError if it does not."""
    if task.export is None:
        raise InputError(f"networks of the task {config.task!r} are not exported")
    return task.export


def report_beside(output: epath.Path) -> epath.Path:
    """The JSON file with the report on an exported one."""
    return output.with_name(f"{output.name}.equality.json")


def _keep_if_equal(
    write: Callable[[epath.Path], None],
    read: Callable[[epath.Path], Mapping[str, RunProgram]],
    model: Mapping[str, CompiledProgram],
    images: Iterable[NamedImage],
    config: ConfigDict,
    output: epath.Path,
    about: Mapping[str, Any],
    tell: Callable[[str], None],
) -> list[Agreement]:
    """Writes a file where nobody sees it, compares it with the model, and puts it in its place."""
    tolerance = TOLERANCES[config.model.dtype]
    with _folder_beside(output) as folder:
        unchecked = folder / output.name
        tell("writing the file")
        try:
            write(unchecked)
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputError(f"{output} cannot be written ({reason})") from error
        agreements = compare(images, model, read(unchecked), tolerance, tell)
        check_agreement(agreements, tolerance)
        report = {"file": output.name, **about, **agreement_report(agreements, tolerance, model)}
        # The file comes last: where it is, it has been compared, and the report says how.
        write_whole(report_beside(output), json.dumps(report, indent=1) + "\n")
        try:
            with open_regular(unchecked) as file:
                write_whole(output, file)
        except BaseException:
            report_beside(output).unlink(missing_ok=True)
            raise
    return agreements


@contextlib.contextmanager
def _folder_beside(output: epath.Path) -> Iterator[epath.Path]:
    """A folder of this process alone for what shall become a new file, on its disk.

    What a killed process has left is taken over.

    Raises:
        InputError: another process writes the file, or it is there already.
    """
    if in_bucket(output):
        with tempfile.TemporaryDirectory() as folder:
            yield as_path(folder)
        return
    folder = output.with_name(f".{output.name}.unchecked")
    folder.mkdir(exist_ok=True)
    with only_process(folder, rich.console.Console(stderr=True)):
        try:
            check_new(output)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def check_new(output: epath.Path) -> None:
    """Raises InputError if there is such a file."""
    if output.exists():
        raise InputError(f"--output: {output} is there already; give a new name")
