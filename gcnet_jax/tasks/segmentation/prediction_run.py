"""Files in, files out: all images and videos segmented, their results written, progress shown."""

import collections
import io
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import rich.console
import rich.progress
from etils import epath
from jaxtyping import Float

from gcnet_jax.data.image_coding import encode_png
from gcnet_jax.errors import InputError
from gcnet_jax.files import write_whole
from gcnet_jax.task import Photo, PredictionOptions, Written
from gcnet_jax.tasks.contact_sheet import ClassShare, SheetEntry, add_to_sheet, sheet_entry
from gcnet_jax.tasks.predictions import told
from gcnet_jax.tasks.segmentation.prediction_video import UnreadableVideo, predict_video
from gcnet_jax.tasks.segmentation.predictor import Predictor
from gcnet_jax.tasks.segmentation.result import SegmentationResult

_MAX_THREADS = 8


def predict_files(
    predictor: Predictor,
    photos: Sequence[Photo],
    videos: Sequence[Photo],
    folder: epath.Path,
    options: PredictionOptions,
) -> Written:
    """Segments images and then videos, and writes what comes of them.

    The folder gets a page of all results too, `index.html`, to which each video is added when it is
    done.

    Args:
        predictor: that segments them.
        photos: the files of images.
        videos: the files of videos.
        folder: of the results, which is there; folders in it are made as names have them.
        options: how to write them.

    Raises:
        InputError: a result cannot be written.
    """
    entries, errors = [], []
    if photos:
        entries, errors = _predict_photos(predictor, photos, folder, options)
        add_to_sheet(folder, entries, errors, overwrite=options.overwrite)
    frames: dict[epath.Path, int] = {}
    for video in videos:
        overlay, shown = f"{video.name}_overlay.mp4", []
        (folder / overlay).parent.mkdir(parents=True, exist_ok=True)
        try:
            found = predict_video(
                predictor,
                video.path,
                folder / overlay,
                max_pixels=options.max_pixels,
                legend=options.legend,
                console=options.console,
            )
        except UnreadableVideo as error:
            errors.append(told(error, video, options.console))
        else:
            frames[folder / overlay] = found.frames
            note = f"frame {found.shown_at} of {found.frames}"
            files = {"overlay": overlay}
            shown = [_entry(video.name, files, found.shown, source=options.source, note=note)]
        add_to_sheet(folder, shown, errors, overwrite=options.overwrite)
    return Written(len(entries), frames, errors)


def _predict_photos(
    predictor: Predictor,
    photos: Sequence[Photo],
    folder: epath.Path,
    options: PredictionOptions,
) -> tuple[list[SheetEntry], list[str]]:
    """Segments image files and writes what comes of them, in threads beside the network.

    Returns:
        What the page shows of each, and why each other cannot be read, both in their order.
    """
    errors: dict[int, str] = {}
    threads = min(os.cpu_count() or 1, _MAX_THREADS)
    columns = (
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TextColumn("{task.fields[rate]}"),
        rich.progress.TimeElapsedColumn(),
    )
    with (
        rich.progress.Progress(*columns, console=options.console) as progress,
        ThreadPoolExecutor(threads) as pool,
    ):
        task = progress.add_task("reading sizes", total=len(photos), rate="")
        writing: collections.deque[int] = collections.deque()
        written: dict[int, Future[SheetEntry]] = {}

        def compiling(nth: int, of: int) -> None:
            progress.update(task, description=f"compiling {nth} of {of} sizes")

        results = predictor.segment(
            [photo.path for photo in photos], with_scores=options.with_scores, compiling=compiling
        )
        for index, found in results:
            if isinstance(found, InputError):
                errors[index] = told(found, photos[index], options.console)
            else:
                scores = found.scores() if options.with_scores else None
                name = photos[index].name
                written[index] = pool.submit(_write, folder, name, found, scores, options)
                writing.append(index)
                while len(writing) > 2 * threads:
                    written[writing.popleft()].result()
            progress.advance(task)
            rate = progress.tasks[task].speed
            said = f"{rate:.1f} images/s" if rate else ""
            progress.update(task, description="predicting", rate=said)
        entries = [written[index].result() for index in sorted(written)]
    return entries, [errors[index] for index in sorted(errors)]


def _write(
    folder: epath.Path,
    name: str,
    result: SegmentationResult,
    scores: Float[np.ndarray, "h w classes"] | None,
    options: PredictionOptions,
) -> SheetEntry:
    """Writes the results of one image, whose files' names begin with `name`."""
    label, overlay, logits = (
        f"{name}_{kind}" for kind in ("label.png", "overlay.png", "logits.npy")
    )
    (folder / label).parent.mkdir(parents=True, exist_ok=True)
    result.save(folder / label)
    write_whole(folder / overlay, encode_png(np.asarray(result.picture(legend=options.legend))))
    files = {"overlay": overlay, "label": label}
    if scores is not None:
        buffer = io.BytesIO()
        np.save(buffer, scores)
        write_whole(folder / logits, buffer.getvalue())
        files["logits"] = logits
    return _entry(name, files, result, source=options.source)


def _entry(
    name: str, files: Mapping[str, str], result: SegmentationResult, *, source: str, note: str = ""
) -> SheetEntry:
    """What the page shows of a result."""
    colors = dict(zip(result.classes.names, result.classes.palette, strict=True))
    classes = [ClassShare(name, share, colors[name]) for name, share in result.shares.items()]
    return sheet_entry(name, files, result.picture(), classes, source=source, note=note)
