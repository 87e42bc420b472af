"""Networks into exported files, and out of them."""

import contextlib
import datetime
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath
from jax import export
from jaxtyping import PyTree
from ml_collections import ConfigDict

from gcnet_jax.config import SchemaOf
from gcnet_jax.errors import InputError
from gcnet_jax.export.exported_file import (
    FORMAT,
    FORMAT_VERSION,
    ExportedFile,
    read_exported,
)
from gcnet_jax.export.stablehlo import (
    PLATFORMS,
    StableHLOProgram,
    export_program,
    named_weights,
    shapes_of,
    used_weights,
)
from gcnet_jax.ops import IMAGE_MEAN, IMAGE_STD
from gcnet_jax.task import ArrayShapes, ExportedNetwork, Meaning, Program, Task
from gcnet_jax.task.exported import Size
from gcnet_jax.training import config_in, run_metadata

PIXELS = "RGB as displayed, uint8 (batch, height, width, 3), not normalised: the programs do that"
"""What programs take, in words."""

_LARGEST_MULTIPLE, _LONGEST_EDGE = 1024, 2**15
_MOST_PIXELS = 2**26
_LONGEST_SHOWN = 80
_NAMES_OF_SOURCE = 3  # RUN/checkpoints/STEP
_MEANT = {
    "multiple": f"a whole number from 1 to {_LARGEST_MULTIPLE}",
    "results": "a description of each by its name",
    "takes_sizes": "true or false",
    "array": f"null, or a height and a width from 1 to {_LONGEST_EDGE}",
    "files": "one for all shapes, or one for each of some",
}
"""What the metadata should say of a program."""


def stablehlo_file(
    programs: Mapping[str, Program],
    variables: PyTree,
    config: ConfigDict,
    meaning: Meaning,
    *,
    source: epath.Path,
    seen: str,
    tell: Callable[[str], None],
) -> ExportedFile:
    """What a file holds of a network, to be written by `write_exported`.

    Args:
        programs: of the network, by their names.
        variables: of the network.
        config: of the run.
        meaning: of the results.
        source: the file or folder that the weights are from, of which the last names are kept.
        seen: what the network sees of an image, in words.
        tell: is told what is done next, for people.
    """
    used = set.union(*(used_weights(program, variables) for program in programs.values()))
    weights = {name: np.asarray(x) for name, x in named_weights(variables).items() if name in used}
    serialized, described = {}, {}
    for name, program in programs.items():
        files = []
        shapes = shapes_of(program)
        for number, shape in enumerate(shapes, 1):
            tell(f"writing the program {name}, {number} of {len(shapes)}")
            file = name if shape is None else f"{name}-{shape[0]}x{shape[1]}"
            serialized[file] = export_program(program, variables, used, shape)
            files.append({"file": file, "array": shape and list(shape)})
        described[name] = {
            "files": files,
            "multiple": program.shapes.multiple,
            "takes_sizes": program.takes_sizes,
            "results": dict(program.results),
        }
    metadata = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "task": config.task,
        "source": name_of_source(source),
        "written": datetime.date.today().isoformat(),
        "jax": {
            "written_by": jax.__version__,
            "calling_convention": export.maximum_supported_calling_convention_version,
            "platforms": list(PLATFORMS),
            "read_by": f"jax {jax.__version__}, and versions released up to six months after it: "
            "what jax.export promises",
        },
        "input": {
            "images": PIXELS,
            "seen": seen,
            "sizes": "height and width of each image at the top left of its array, which is zero "
            "around it, int32 (batch, 2)",
            "mean": list(IMAGE_MEAN),
            "std": list(IMAGE_STD),
        },
        "programs": described,
        **run_metadata(config, meaning),
    }
    return ExportedFile(metadata, weights, serialized)


def name_of_source(source: epath.Path) -> str:
    """The last names of a path: a file is given away, and folders may say more than one wants."""
    return str(epath.Path(*source.parts[-_NAMES_OF_SOURCE:]))


def load_exported(
    path: epath.Path,
    schema_of: SchemaOf,
    task_of: Callable[[ConfigDict], Task],
    *,
    config: ConfigDict | None = None,
) -> tuple[Task, ConfigDict, ExportedNetwork]:
    """The network in an exported file, with its task and its config.

    Args:
        path: of the file.
        schema_of: finds the schema of a config by its task.
        task_of: finds the task that a config names.
        config: in place of the file's own.

    Raises:
        InputError: the file is no whole one of a version that can be read, or a program in it takes
            or does what it should not.
    """
    content = read_exported(path)
    with _problems_of(path):
        if config is None:
            config = config_in(path, content.metadata, schema_of)
        task = task_of(config)
        meaning = task.meaning.from_metadata(content.metadata)
        programs = _programs(content)
        if task.export is None or task.export.called not in programs:
            raise InputError("it has no program that takes images")
        _check_most_pixels(task.export.most_pixels(config))
        signature = task.export.signature(config, meaning)
        programs[task.export.called].check(signature)
    return task, config, ExportedNetwork(programs, meaning, path)


def read_programs(path: epath.Path) -> dict[str, StableHLOProgram]:
    """The programs of an exported file with its weights.

    Raises:
        InputError: the file is no whole one of a version that can be read, or a program in it takes
            or does what it should not.
    """
    content = read_exported(path)
    with _problems_of(path):
        return _programs(content)


def _check_most_pixels(seen: int) -> None:
    """Raises InputError where a config, which may be a stranger's, makes photographs too large."""
    if seen > _MOST_PIXELS:
        raise InputError(
            f"its network sees images of up to {seen} pixels; expected at most {_MOST_PIXELS}"
        )


@contextlib.contextmanager
def _problems_of(path: epath.Path) -> Iterator[None]:
    """Names the file in errors about what it holds."""
    try:
        yield
    except InputError as error:
        text = str(error)
        raise InputError(text if text.startswith(str(path)) else f"{path}: {text}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path} is no whole exported file ({type(error).__name__}: {error})"
        ) from error


def _programs(content: ExportedFile) -> dict[str, StableHLOProgram]:
    weights = {name: jax.device_put(x) for name, x in content.weights.items()}
    programs = {}
    for name, about in content.metadata["programs"].items():
        described = _described(name, about)
        programs[name] = StableHLOProgram(
            {shape: content.programs[file] for shape, file in described.files.items()},
            ArrayShapes(described.multiple, [shape for shape in described.files if shape]),
            weights,
            results=described.results,
            takes_sizes=described.takes_sizes,
        )
    return programs


class _Described(NamedTuple):
    """What the metadata says of a program, checked."""

    files: dict[Size | None, str]
    multiple: int
    results: list[str]
    takes_sizes: bool


def _described(name: str, about: Any) -> _Described:
    """What the metadata says of a program; raises InputError where that makes no sense."""

    def expect(holds: bool, what: str, found: Any) -> None:
        if not holds:
            shown = repr(found)[:_LONGEST_SHOWN]
            raise InputError(f"{what} of its program {name!r} is {shown}; expected {_MEANT[what]}")

    multiple, results, takes_sizes = about["multiple"], about["results"], about["takes_sizes"]
    expect(_is_length(multiple, _LARGEST_MULTIPLE), "multiple", multiple)
    expect(isinstance(results, dict) and len(results) > 0, "results", results)
    expect(isinstance(takes_sizes, bool), "takes_sizes", takes_sizes)
    files: dict[Size | None, str] = {}
    for file in about["files"]:
        shape = file["array"]
        if shape is not None:
            is_shape = isinstance(shape, list) and len(shape) == 2
            expect(is_shape and all(_is_length(x, _LONGEST_EDGE) for x in shape), "array", shape)
            shape = shape[0], shape[1]
        files[shape] = file["file"]
    whole = len(files) == len(about["files"]) and (list(files) == [None] or None not in files)
    expect(whole and len(files) > 0, "files", about["files"])
    return _Described(files, multiple, list(results), takes_sizes)


def _is_length(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= most
