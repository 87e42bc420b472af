"""Exports a network: writes a file, shows that it says what the model says, and keeps it then."""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from gcnet_jax.data import decode_rgb
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
from gcnet_jax.export.network_files import read_programs, stablehlo_file
from gcnet_jax.files import as_path, open_regular, write_whole
from gcnet_jax.models import split_for_evaluation
from gcnet_jax.task import CompiledProgram, Export, PretrainedModel, RunProgram, Task

_EXAMPLES = 4


def export_stablehlo(
    task: Task,
    config: ConfigDict,
    pretrained: PretrainedModel,
    images: Sequence[tuple[str, np.ndarray]],
    output: epath.Path,
) -> list[Agreement]:
    """Writes a network's exported file, and beside it the report of `report_beside`.

    Args:
        task: of the run.
        config: of the run.
        pretrained: the model with its weights.
        images: RGB of 8 bits by their names, of which the file must say what the model says.
        output: the file.

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
            source=str(pretrained.source),
            seen=export.seen_in_words(config),
        )
        write_exported(path, content)

    compiled = {name: CompiledProgram(x, variables) for name, x in programs.items()}
    seen = [NamedImage(name, export.seen(image, config)) for name, image in images]
    about = {"run": str(pretrained.source), "read_by": f"jax {jax.__version__}"}
    return _keep_if_equal(write, read_programs, compiled, seen, config, output, about)


def exports_of(task: Task, config: ConfigDict) -> Export:
    """How a task exports; raises InputError if it does not."""
    if task.export is None:
        raise InputError(f"networks of the task {config.task!r} are not exported")
    return task.export


def report_beside(output: epath.Path) -> epath.Path:
    """The JSON file with the report on an exported one."""
    return output.with_name(f"{output.name}.equality.json")


def images_of_run(task: Task, config: ConfigDict) -> list[tuple[str, np.ndarray]]:
    """Some images of the split that a run is evaluated on, from all over it.

    Raises:
        InputError: it is not there.
    """
    config = task.with_evaluation_split(config)
    data, split = config.data, config.evaluation.split
    records = task.data_sets.open_split(data.name, data.data_dir, split)
    places = np.unique(np.linspace(0, len(records) - 1, _EXAMPLES).round().astype(int))
    named = [(f"{data.name} {split} {place}", records[int(place)]) for place in places]
    return [(name, decode_rgb(record["image"], name)) for name, record in named]


def _keep_if_equal(
    write: Callable[[epath.Path], None],
    read: Callable[[epath.Path], Mapping[str, RunProgram]],
    model: Mapping[str, RunProgram],
    images: Sequence[NamedImage],
    config: ConfigDict,
    output: epath.Path,
    about: Mapping[str, Any],
) -> list[Agreement]:
    """Writes a file where nobody sees it, compares it with the model, and puts it in its place."""
    tolerance = TOLERANCES[config.model.dtype]
    with tempfile.TemporaryDirectory() as folder:
        unchecked = as_path(folder) / output.name
        write(unchecked)
        programs = read(unchecked)
        expected = {name: program for name, program in model.items() if name in programs}
        agreements = compare(images, expected, programs, tolerance)
        check_agreement(agreements, tolerance)
        with open_regular(unchecked) as file:
            write_whole(output, file)
    report = {"file": output.name, **about, **agreement_report(agreements, tolerance)}
    write_whole(report_beside(output), json.dumps(report, indent=1) + "\n")
    return agreements
