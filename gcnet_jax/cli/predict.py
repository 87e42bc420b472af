"""Segments images with a trained model.

    gcnet predict --config=configs/context_shapes/gcnet.py --workdir=runs/shapes \\
        --output_dir=predictions photo.jpg more_photos/

For each image NAME the output folder receives `NAME_label.png` (class indices, which viewers show
in the data set's colours), `NAME_overlay.png` (these colours over the image; with --legend the
names below it) and, with --save_logits, `NAME_logits.npy` (float32, height x width x classes);
`index.html` shows all of them on one page. Images are PNG, JPEG, TIFF, BMP, GIF, PPM or WebP files,
or folders of them, after --images or at the end; those of similar sizes go through the network
together. A file that cannot be read is named, the others are done, and the exit status is 1.

A video (MP4, AVI, MKV, MOV, WebM) that is named becomes `NAME_overlay.mp4`, without its sound. `-`
is an image on standard input; where it is the only one, and there is no --output_dir, its overlay
goes to standard output.
"""

import contextlib
import sys
import tempfile
from collections.abc import Sequence

from absl import flags
from etils import epath
from ml_collections import ConfigDict

from gcnet_jax.cli import command, options
from gcnet_jax.cli.image_sources import check_targets, find_images
from gcnet_jax.cli.importing import importing
from gcnet_jax.cli.runs import require_model
from gcnet_jax.errors import InputError
from gcnet_jax.files import as_path

_STANDARD = "-"

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
_LEGEND = flags.DEFINE_bool(
    "legend", False, "the names of classes below each overlay", flag_values=_OPTIONS
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
    require_model(_OPTIONS, arguments)
    config = options.checked_config(_CONFIG)
    given = [*_IMAGES.value, *arguments]
    with contextlib.ExitStack() as stack:
        if _STANDARD not in given:
            _predict_into(
                as_path(options.required(_OUTPUT_DIR.value, "--output_dir")), given, config
            )
            return
        temporary = as_path(stack.enter_context(tempfile.TemporaryDirectory()))
        image = temporary / "stdin"
        image.write_bytes(sys.stdin.buffer.read())
        others = [str(image) if name == _STANDARD else name for name in given]
        if _OUTPUT_DIR.value is not None:
            _predict_into(as_path(_OUTPUT_DIR.value), others, config)
            return
        if given != [_STANDARD] or sys.stdout.isatty():
            raise InputError(
                "--output_dir is required, unless - is the only image and standard output is no "
                "terminal"
            )
        with contextlib.redirect_stdout(sys.stderr):
            _predict_into(temporary / "results", others, config)
        sys.stdout.buffer.write((temporary / "results" / "stdin_overlay.png").read_bytes())
        sys.stdout.buffer.flush()


def _predict_into(output_dir: epath.Path, given: list[str], config: ConfigDict) -> None:
    """Segments what was given into a folder."""
    sources = find_images(given, recursive=_RECURSIVE.value)
    images = [source for source in sources if not source.is_video]
    videos = [source for source in sources if source.is_video]
    kinds = ("_label.png", "_overlay.png", *(["_logits.npy"] if _SAVE_LOGITS.value else []))
    for of_kind, suffixes in ((images, kinds), (videos, ["_overlay.mp4"])):
        check_targets(
            given,
            of_kind,
            output_dir,
            suffixes,
            recursive=_RECURSIVE.value,
            overwrite=_OVERWRITE.value,
        )
    with importing():
        import jax
        import rich.console

        from gcnet_jax.parallel import create_mesh
        from gcnet_jax.tasks.segmentation.contact_sheet import check_sheet
        from gcnet_jax.tasks.segmentation.prediction_run import Photo, predict_files
        from gcnet_jax.tasks.segmentation.prediction_video import predict_video
        from gcnet_jax.tasks.segmentation.trained_model import load_trained_model
    check_sheet(output_dir, overwrite=_OVERWRITE.value)
    mesh = create_mesh(jax.local_devices()[:1])
    trained = load_trained_model(config, mesh, **_MODEL.values())
    options.output_folder(str(output_dir), "--output_dir")
    predictor, console = trained.predictor(config), rich.console.Console(stderr=True)
    for video in videos:
        target = output_dir / f"{video.name}_overlay.mp4"
        frames = predict_video(
            predictor, video.path, target, max_pixels=config.data.max_image_pixels, console=console
        )
        print(f"{frames} frame(s) segmented with {trained.checkpoint}; the video is {target}")
    if not images:
        return
    written = predict_files(
        predictor,
        [Photo(image.path, image.name) for image in images],
        output_dir,
        source=str(trained.checkpoint),
        legend=_LEGEND.value,
        with_scores=_SAVE_LOGITS.value,
        console=console,
    )
    print(
        f"{written.done} image(s) segmented with {trained.checkpoint}; results are in "
        f"{output_dir}, all on one page in {output_dir / 'index.html'}"
    )
    if written.errors:
        raise InputError(
            f"{len(written.errors)} of {len(images)} images could not be read; they are named above"
        )
