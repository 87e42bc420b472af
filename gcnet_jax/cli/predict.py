"""Segments images with a trained model.

    gcnet predict --config=configs/context_shapes/gcnet.py --workdir=runs/shapes \\
        --output_dir=predictions photo.jpg more_photos/

For each image NAME the output folder receives `NAME_label.png` (class indices), `NAME_overlay.png`
(the data set's colours over the image) and, with --save_logits, `NAME_logits.npy` (float32, height
x width x classes). Images are PNG, JPEG, TIFF, BMP, GIF, PPM or WebP files, or folders of them,
after --images or at the end. A file that cannot be read is named, the others are done, and the
exit status is 1.
"""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags
from etils import epath

from gcnet_jax.cli import command, options
from gcnet_jax.cli.image_sources import check_targets, find_images
from gcnet_jax.cli.importing import importing
from gcnet_jax.errors import InputError
from gcnet_jax.files import as_path, write_whole

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, UInt8

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

_RECURSIVE = flags.DEFINE_bool(
    "recursive", False, "look into subfolders, and make the same ones", flag_values=_OPTIONS
)
_OVERWRITE = flags.DEFINE_bool(
    "overwrite", False, "replace results that are there already", flag_values=_OPTIONS
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status; see `gcnet_jax.cli.command.run`."""
    return command.run(_predict, __name__, _OPTIONS, arguments)


def _predict(arguments: list[str]) -> None:
    config = options.checked_config(_CONFIG)
    output_dir = as_path(options.required(_OUTPUT_DIR.value, "--output_dir"))
    given = [*_IMAGES.value, *arguments]
    images = find_images(given, recursive=_RECURSIVE.value)
    check_targets(
        given,
        images,
        output_dir,
        ("_label.png", "_overlay.png", *(["_logits.npy"] if _SAVE_LOGITS.value else [])),
        recursive=_RECURSIVE.value,
        overwrite=_OVERWRITE.value,
    )
    with importing():
        import jax
        import numpy as np
        import rich.console
        import rich.progress

        from gcnet_jax.data import read_rgb
        from gcnet_jax.evaluation import label_overlay
        from gcnet_jax.parallel import create_mesh
        from gcnet_jax.tasks.segmentation.trained_model import load_trained_model
    mesh = create_mesh(jax.local_devices()[:1])
    trained = load_trained_model(config, mesh, **_MODEL.values())

    logits_of = trained.predictor(config)
    options.output_folder(_OUTPUT_DIR.value, "--output_dir")
    console = rich.console.Console(stderr=True)
    unread = 0
    for image in rich.progress.track(images, "predicting", console=console):
        try:
            pixels = read_rgb(image.path, max_pixels=config.data.max_image_pixels)
        except InputError as error:  # the others are done all the same
            console.print(f"not segmented: {error}", markup=False, highlight=False, soft_wrap=True)
            unread += 1
            continue
        logits = logits_of(pixels)
        label = np.argmax(logits, axis=-1).astype(np.uint8)
        overlay = label_overlay(pixels, label, trained.classes.palette)
        target = output_dir / image.name
        target.parent.mkdir(parents=True, exist_ok=True)
        _write(target.with_name(f"{target.name}_label.png"), label)
        _write(target.with_name(f"{target.name}_overlay.png"), overlay)
        if _SAVE_LOGITS.value:
            _write(target.with_name(f"{target.name}_logits.npy"), logits)
    done = len(images) - unread
    print(f"{done} image(s) segmented with {trained.checkpoint}; results are in {output_dir}")
    if unread:
        raise InputError(
            f"{unread} of {len(images)} images could not be read; they are named above"
        )


def _write(
    path: epath.Path,
    array: "UInt8[np.ndarray, 'h w'] | UInt8[np.ndarray, 'h w 3'] | Float[np.ndarray, 'h w c']",
) -> None:
    """Writes a PNG or an `.npy` file."""
    import numpy as np

    from gcnet_jax.data.records import encode_png

    if path.suffix == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, array)
        write_whole(path, buffer.getvalue())
    else:
        write_whole(path, encode_png(array))
