"""Segments images with a trained model.

    python scripts/predict.py --config=configs/context_shapes/gcnet.py --workdir=runs/shapes \\
        --output_dir=predictions photo.jpg more_photos/

For each image NAME the output folder receives `NAME_label.png` (class indices), `NAME_overlay.png`
(the data set's colours over the image) and, with --save_logits, `NAME_logits.npy` (float32, height
x width x classes). Images are PNG or JPEG files, or folders of them, after --images or at the end.
"""

import io
from collections.abc import Iterator, Sequence

import jax
import numpy as np
import rich.console
import rich.progress
from absl import flags
from etils import epath
from jaxtyping import Float, UInt8

from gcnet_jax.cli import command, options
from gcnet_jax.cli.inference import load_trained_model
from gcnet_jax.data.records import decode_rgb, encode_png, read_image_file
from gcnet_jax.errors import InputError
from gcnet_jax.evaluation import label_overlay
from gcnet_jax.files import as_path, write_whole
from gcnet_jax.parallel import create_mesh

_OPTIONS = flags.FlagValues()
_CONFIG = options.define_config_flag(_OPTIONS)
_MODEL = options.define_checkpoint_flags(_OPTIONS)
_IMAGES = flags.DEFINE_multi_string(
    "images", [], "an image or a folder of images; may be repeated", flag_values=_OPTIONS
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "folder for the results; created if missing", flag_values=_OPTIONS
)
_SAVE_LOGITS = flags.DEFINE_bool(
    "save_logits", False, "also write float32 logits", flag_values=_OPTIONS
)

_SUFFIXES = (".png", ".jpg", ".jpeg")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status; see `gcnet_jax.cli.command.run`."""
    return command.run(_predict, __name__, _OPTIONS, arguments)


def _predict(arguments: list[str]) -> None:
    config = options.checked_config(_CONFIG)
    output_dir = as_path(options.required(_OUTPUT_DIR.value, "--output_dir"))
    paths = _image_files([*_IMAGES.value, *arguments])
    mesh = create_mesh(jax.local_devices()[:1])
    trained = load_trained_model(config, mesh, **_MODEL.values())

    logits_of = trained.predictor(config)
    output_dir.mkdir(parents=True, exist_ok=True)
    console = rich.console.Console(stderr=True)
    for path in rich.progress.track(paths, "predicting", console=console):
        encoded, _ = read_image_file(path)
        image = decode_rgb(encoded, str(path))
        logits = logits_of(image)
        label = np.argmax(logits, axis=-1).astype(np.uint8)
        overlay = label_overlay(image, label, trained.classes.palette)
        _write(output_dir / f"{path.stem}_label.png", label)
        _write(output_dir / f"{path.stem}_overlay.png", overlay)
        if _SAVE_LOGITS.value:
            _write(output_dir / f"{path.stem}_logits.npy", logits)
    print(f"{len(paths)} images segmented with {trained.checkpoint}; results are in {output_dir}")


def _image_files(given: list[str]) -> list[epath.Path]:
    """The image files among what was given, in order; every name may occur once."""
    if not given:
        raise InputError("no images given; name files or folders with --images or at the end")
    files = [file for name in given for file in _files_of(as_path(name))]
    seen: dict[str, epath.Path] = {}
    for file in files:
        if other := seen.get(file.stem):
            raise InputError(f"{other} and {file} would have results of the same name")
        seen[file.stem] = file
    return files


def _files_of(path: epath.Path) -> Iterator[epath.Path]:
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in _SUFFIXES)
        if not files:
            raise InputError(f"there are no images ({', '.join(_SUFFIXES)}) in the folder {path}")
        yield from files
    elif path.exists():
        yield path
    else:
        raise InputError(f"there is no image {path}")


def _write(
    path: epath.Path,
    array: UInt8[np.ndarray, "h w"] | UInt8[np.ndarray, "h w 3"] | Float[np.ndarray, "h w c"],
) -> None:
    """Writes a PNG or an `.npy` file."""
    if path.suffix == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, array)
        write_whole(path, buffer.getvalue())
    else:
        write_whole(path, encode_png(array))
