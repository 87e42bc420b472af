"""Segments images with a trained model.

    gcnet predict --config=configs/context_shapes/gcnet.py --workdir=runs/shapes \\
        --output_dir=predictions photo.jpg more_photos/

For each image NAME the output folder receives `NAME_label.png` (class indices, which viewers show
in the data set's colours), `NAME_overlay.png` (these colours over the image) and, with
--save_logits, `NAME_logits.npy` (float32, height x width x classes). Images are PNG, JPEG, TIFF,
BMP, GIF, PPM or WebP files, or folders of them, after --images or at the end; those of similar
sizes go through the network together. A file that cannot be read is named, the others are done,
and the exit status is 1.
"""

from collections.abc import Sequence

from absl import flags

from gcnet_jax.cli import command, options
from gcnet_jax.cli.image_sources import check_targets, find_images
from gcnet_jax.cli.importing import importing
from gcnet_jax.errors import InputError
from gcnet_jax.files import as_path

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
        import rich.console

        from gcnet_jax.parallel import create_mesh
        from gcnet_jax.tasks.segmentation.prediction_run import Photo, predict_files
        from gcnet_jax.tasks.segmentation.trained_model import load_trained_model
    mesh = create_mesh(jax.local_devices()[:1])
    trained = load_trained_model(config, mesh, **_MODEL.values())
    options.output_folder(_OUTPUT_DIR.value, "--output_dir")
    written = predict_files(
        trained.predictor(config),
        [Photo(image.path, image.name) for image in images],
        output_dir,
        with_scores=_SAVE_LOGITS.value,
        console=rich.console.Console(stderr=True),
    )
    print(
        f"{written.done} image(s) segmented with {trained.checkpoint}; results are in {output_dir}"
    )
    if written.errors:
        raise InputError(
            f"{len(written.errors)} of {len(images)} images could not be read; they are named above"
        )
