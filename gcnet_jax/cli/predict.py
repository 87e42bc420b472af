"""Predicts what is in images with a trained model.

    gcnet predict runs/shapes photo.jpg more_photos/ --output_dir=predictions

For each image NAME a segmentor leaves in the output folder `NAME_label.png` (class indices, which
viewers show in the data set's colours), `NAME_overlay.png` (these colours over the image; with
--legend the names below it) and, with --save_logits, `NAME_logits.npy` (float32, height x width x
classes); a classifier `NAME_classes.json` (the most likely ones), `NAME_overlay.png` (with them
above the image) and, with --save_logits, `NAME_probabilities.npy`. Of a video a segmentor makes
`NAME_overlay.mp4`, without its sound. `index.html` shows all results of the folder on one page,
those of earlier predictions too. A file that cannot be read is named, the others are done, and the
exit status is 1.

Images are PNG, JPEG, TIFF, BMP, GIF, PPM or WebP files, videos are MP4, AVI, MKV, MOV, MPEG or WebM
files; they, folders of them, and patterns in quotes stand after --images or at the end. Images of
similar sizes go through the network together. `-` is an image on standard input; where it is the
only one, and there is no --output_dir, its overlay goes to standard output.
"""

import contextlib
import sys
import tempfile
from collections.abc import Sequence

from absl import flags
from etils import epath
from ml_collections import ConfigDict

from gcnet_jax.cli import command, options
from gcnet_jax.cli.image_sources import check_targets, expand_patterns, find_images
from gcnet_jax.cli.importing import importing
from gcnet_jax.cli.runs import require_model
from gcnet_jax.errors import InputError, UsageError, printable
from gcnet_jax.files import as_path

_STANDARD = "-"

_OPTIONS = flags.FlagValues()
_CONFIG = options.define_config_flag(_OPTIONS)
_MODEL = options.define_checkpoint_flags(_OPTIONS)
_IMAGES = flags.DEFINE_multi_string(
    "images",
    [],
    "an image, a video, a folder of them or a pattern; may be repeated",
    flag_values=_OPTIONS,
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "folder for the results; created if missing", flag_values=_OPTIONS
)
_SAVE_LOGITS = flags.DEFINE_bool(
    "save_logits", False, "also write float32 logits, of images", flag_values=_OPTIONS
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
    if _STANDARD not in given:
        _predict_into(as_path(options.required(_OUTPUT_DIR.value, "--output_dir")), given, config)
        return
    if given.count(_STANDARD) > 1:
        raise UsageError("- is standard input, and given more than once; expected once")
    output_dir = _OUTPUT_DIR.value
    is_alone = given == [_STANDARD] and not _SAVE_LOGITS.value
    if output_dir is None and (not is_alone or sys.stdout.isatty()):
        raise UsageError(
            "--output_dir is required, unless - is the only image, without --save_logits, and "
            "standard output is no terminal"
        )
    with contextlib.ExitStack() as stack:
        temporary = as_path(stack.enter_context(tempfile.TemporaryDirectory()))
        image = temporary / "stdin"
        image.write_bytes(sys.stdin.buffer.read())
        others = [str(image) if name == _STANDARD else name for name in given]
        if output_dir is not None:
            _predict_into(as_path(output_dir), others, config, standard=image)
            return
        with contextlib.redirect_stdout(sys.stderr):
            _predict_into(temporary / "out", others, config, standard=image, is_kept=False)
        sys.stdout.buffer.write((temporary / "out" / "stdin_overlay.png").read_bytes())
        sys.stdout.buffer.flush()


def _predict_into(
    output_dir: epath.Path,
    given: list[str],
    config: ConfigDict,
    *,
    standard: epath.Path | None = None,
    is_kept: bool = True,
) -> None:
    """Predicts what is in what was given, into a folder.

    Args:
        output_dir: the folder.
        given: files, patterns and folders.
        config: of the run.
        standard: the file, among those, that standard input was written to.
        is_kept: whether the folder is there afterwards, to speak of it.
    """
    given = expand_patterns(given)
    sources = find_images(given, recursive=_RECURSIVE.value)
    images = [source for source in sources if not source.is_video]
    videos = [source for source in sources if source.is_video]
    with importing():
        import jax
        import rich.console

        from gcnet_jax.parallel import create_mesh
        from gcnet_jax.task import Photo, PredictionOptions
        from gcnet_jax.tasks import task_of
        from gcnet_jax.tasks.contact_sheet import SHEET, check_sheet
        from gcnet_jax.training import load_trained_model
    task = task_of(config)
    prediction = task.prediction
    if prediction is None:
        raise InputError(f"the task {config.task} does not predict")
    if videos and not prediction.of_video:
        raise UsageError(f"{videos[0].path} is a video; {config.task} takes images alone")
    of_images = [*prediction.of_image, *([prediction.scores] if _SAVE_LOGITS.value else [])]
    for of_kind, suffixes in ((images, of_images), (videos, prediction.of_video)):
        check_targets(
            given,
            of_kind,
            output_dir,
            suffixes,
            recursive=_RECURSIVE.value,
            overwrite=_OVERWRITE.value,
        )
    if _SAVE_LOGITS.value and videos:
        if not images:
            raise UsageError(
                f"--save_logits: of {videos[0].path}, a video, the overlay is written and no logits"
            )
        print(f"no logits are written of {len(videos)} video(s): --save_logits is for images")
    check_sheet(output_dir, overwrite=_OVERWRITE.value)
    mesh = create_mesh(jax.local_devices()[:1])
    trained = load_trained_model(task, config, mesh, **_MODEL.values())
    options.output_folder(str(output_dir), "--output_dir")
    written = prediction.files(
        trained,
        config,
        [
            Photo(image.path, image.name, "standard input" if image.path == standard else None)
            for image in images
        ],
        [Photo(video.path, video.name) for video in videos],
        output_dir,
        PredictionOptions(
            source=str(trained.checkpoint),
            legend=_LEGEND.value,
            with_scores=_SAVE_LOGITS.value,
            max_pixels=config.data.max_image_pixels,
            overwrite=_OVERWRITE.value,
            console=rich.console.Console(stderr=True),
        ),
    )
    by = f"predicted with {trained.checkpoint}"
    for target, frames in written.frames.items():
        print(printable(f"{frames} frame(s) {by}; the video is {target}"))
    if images:
        where = f"; results are in {output_dir}" if is_kept else ""
        print(f"{written.done} image(s) {by}{where}")
    if is_kept:
        print(f"all results of the folder are on one page, {output_dir / SHEET}")
    if written.errors:
        raise InputError(
            f"{len(written.errors)} of {len(sources)} {'files' if videos else 'images'} could not "
            "be read; they are named above"
        )
