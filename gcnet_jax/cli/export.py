"""Writes a trained network as one file that runs where this library is not installed.

    gcnet export runs/shapes --output=shapes.gcnet

The file holds the weights and the whole way from 8-bit pixels to results, for CPUs, NVIDIA's GPUs
and TPUs: JAX alone runs it, and `gcnet_jax.load` takes it as it takes a run. docs/export.md shows
both. With --to=onnx it is an ONNX model for onnxruntime and the like, of images of one size.

Before it is kept, the file's results are compared with the model's, on images that are named at the
end or with --images, or else on some of the run's data set. The report lies beside it, as
OUTPUT.equality.json; where they disagree no file is written.
"""

import functools
from collections.abc import Iterator, Sequence

import numpy as np
from absl import flags
from jaxtyping import UInt8
from ml_collections import ConfigDict

from gcnet_jax.cli import command, options
from gcnet_jax.cli.image_sources import expand_patterns, find_images
from gcnet_jax.cli.importing import importing
from gcnet_jax.cli.runs import require_model
from gcnet_jax.errors import InputError, UsageError
from gcnet_jax.files import as_path, check_writable

_EXAMPLES = 4  # images of the run's data set to compare on
_OPTIONS = flags.FlagValues()
_CONFIG = options.define_config_flag(_OPTIONS)
_MODEL = options.define_checkpoint_flags(_OPTIONS)
_TO = flags.DEFINE_enum(
    "to", "stablehlo", ["stablehlo", "onnx"], "what to write", flag_values=_OPTIONS
)
_OUTPUT = flags.DEFINE_string("output", None, "the file; must be new", flag_values=_OPTIONS)
_IMAGES = flags.DEFINE_multi_string(
    "images",
    [],
    "an image, a folder of them or a pattern, to compare with the model on; may be repeated "
    "(default: some of the run's data set)",
    flag_values=_OPTIONS,
)


_SIZE = flags.DEFINE_string(
    "size",
    None,
    "onnx: HEIGHT,WIDTH of the images that it takes (default: the config's crop, or of a detector "
    "the smallest array)",
    flag_values=_OPTIONS,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status; see `gcnet_jax.cli.command.run`."""
    return command.run(_export, __name__, _OPTIONS, arguments)


def _export(arguments: list[str]) -> None:
    require_model(_OPTIONS, arguments)
    config = options.checked_config(_CONFIG)
    with importing():
        import rich.console

        from gcnet_jax.cli.timing import CONSOLE
        from gcnet_jax.export import (
            agreement_table,
            check_new,
            check_onnx_installed,
            export_onnx,
            export_stablehlo,
            exports_of,
            report_beside,
        )
        from gcnet_jax.tasks import task_of
        from gcnet_jax.tasks.runs import find_checkpoint
        from gcnet_jax.training import load_pretrained
    size = _size()
    to_onnx = _TO.value == "onnx"
    if to_onnx:
        check_onnx_installed()
    output = as_path(options.required(_OUTPUT.value, "--output"))
    check_new(output)
    check_writable(output.parent)
    task = task_of(config)
    exports_of(task, config)
    images = _images([*_IMAGES.value, *arguments], config)
    given = _MODEL.values()
    checkpoint = given["checkpoint"] or find_checkpoint(given["workdir"], config)
    pretrained = load_pretrained(task, config, checkpoint, allow_partial=given["allow_partial"])
    with CONSOLE.status("exporting") as status:
        export = functools.partial(export_onnx, size=size) if to_onnx else export_stablehlo
        agreements = export(task, config, pretrained, images, output, tell=status.update)
    rich.console.Console().print(agreement_table(agreements))
    mebibytes = output.stat().length / 2**20
    print(f"{output}, {mebibytes:.1f} MiB, says what {pretrained.source} says")
    print(f"how far they are apart is in {report_beside(output)}")


def _size() -> tuple[int, int] | None:
    """What `--size` says."""
    if _SIZE.value is None:
        return None
    if _TO.value != "onnx":
        raise UsageError("--size is for --to=onnx: other files have their shapes from the config")
    parts = _SIZE.value.split(",")
    if len(parts) != 2 or not all(part.isdecimal() and int(part) for part in parts):
        raise UsageError(f"--size is {_SIZE.value!r}; expected HEIGHT,WIDTH in pixels")
    return int(parts[0]), int(parts[1])


def _images(
    given: Sequence[str], config: ConfigDict
) -> Iterator[tuple[str, UInt8[np.ndarray, "h w 3"]]]:
    """The images to compare on, by their names, each read when its turn comes."""
    from gcnet_jax.data import read_rgb
    from gcnet_jax.tasks import task_of

    if not given:
        try:
            return task_of(config).evaluation_images(config, _EXAMPLES)
        except InputError as error:
            raise InputError(
                f"{error}; or name images to compare the file with the model on: --images=FILE"
            ) from error
    sources = find_images(expand_patterns(given), recursive=False)
    if video := next((source.path for source in sources if source.is_video), None):
        raise UsageError(f"{video} is a video; expected images")
    most = config.data.max_image_pixels
    return ((source.name, read_rgb(source.path, max_pixels=most)) for source in sources)
