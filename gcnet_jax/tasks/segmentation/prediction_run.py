"""Files in, files out: all images and videos segmented, their results written, progress shown."""

import collections
import io
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import rich.console
import rich.progress
from etils import epath
from jaxtyping import Float

from gcnet_jax.config import MAX_IMAGE_PIXELS
from gcnet_jax.data.image_coding import encode_png
from gcnet_jax.errors import InputError
from gcnet_jax.files import write_whole
from gcnet_jax.tasks.segmentation.contact_sheet import SheetEntry, add_to_sheet, sheet_entry
from gcnet_jax.tasks.segmentation.prediction_video import UnreadableVideo, predict_video
from gcnet_jax.tasks.segmentation.predictor import Predictor
from gcnet_jax.tasks.segmentation.result import SegmentationResult

_MAX_THREADS = 8


class Photo(NamedTuple):
    """An image file or a video.

    Attributes:
        path: of the file.
        name: of its results in their folder.
        called: by messages, where not by its path.
    """

    path: epath.Path
    name: str
    called: str | None = None


class Written(NamedTuple):
    """What became of images and videos.

    Attributes:
        done: how many images were segmented, their results written.
        frames: how many were segmented of each video that became one, by the path of the result.
        errors: of each other image and video, why not.
    """

    done: int
    frames: Mapping[epath.Path, int]
    errors: Sequence[str]


def predict_files(
    predictor: Predictor,
    photos: Sequence[Photo],
    folder: epath.Path,
    *,
    videos: Sequence[Photo] = (),
    source: str,
    legend: bool = False,
    with_scores: bool = False,
    max_pixels: int = MAX_IMAGE_PIXELS,
    overwrite: bool = False,
    console: rich.console.Console,
) -> Written:
    """Segments images and then videos, and writes what comes of them.

    The folder gets a page of all results too, `index.html`, to which each video is added when it is
    done.

    Args:
        predictor: that segments them.
        photos: the files of images.
        folder: of the results, which is there; folders in it are made as names have them.
        videos: the files of videos.
        source: the weights, for the page.
        legend: whether the names of classes stand below each overlay.
        with_scores: whether to write the float32 scores of every pixel of images too.
        max_pixels: most pixels of a video's frame.
        overwrite: whether a page that is not of predictions is replaced.
        console: for the progress, and for the errors of files that cannot be read.

    Raises:
        InputError: a result cannot be written.
    """
    entries, errors = [], []
    if photos:
        entries, errors = _predict_photos(
            predictor,
            photos,
            folder,
            source=source,
            legend=legend,
            with_scores=with_scores,
            console=console,
        )
        add_to_sheet(folder, entries, errors, overwrite=overwrite)
    frames: dict[epath.Path, int] = {}
    for video in videos:
        overlay, shown = f"{video.name}_overlay.mp4", []
        (folder / overlay).parent.mkdir(parents=True, exist_ok=True)
        try:
            found = predict_video(
                predictor,
                video.path,
                folder / overlay,
                max_pixels=max_pixels,
                legend=legend,
                console=console,
            )
        except UnreadableVideo as error:
            errors.append(_told(error, video, console))
        else:
            frames[folder / overlay] = found.frames
            note = f"frame {found.shown_at} of {found.frames}"
            files = {"overlay": overlay}
            shown = [sheet_entry(video.name, files, found.shown, source=source, note=note)]
        add_to_sheet(folder, shown, errors, overwrite=overwrite)
    return Written(len(entries), frames, errors)


def _predict_photos(
    predictor: Predictor,
    photos: Sequence[Photo],
    folder: epath.Path,
    *,
    source: str,
    legend: bool,
    with_scores: bool,
    console: rich.console.Console,
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
        rich.progress.Progress(*columns, console=console) as progress,
        ThreadPoolExecutor(threads) as pool,
    ):
        task = progress.add_task("reading sizes", total=len(photos), rate="")
        writing: collections.deque[int] = collections.deque()
        written: dict[int, Future[SheetEntry]] = {}

        def compiling(nth: int, of: int) -> None:
            progress.update(task, description=f"compiling {nth} of {of} sizes")

        results = predictor.segment(
            [photo.path for photo in photos], with_scores=with_scores, compiling=compiling
        )
        for index, found in results:
            if isinstance(found, InputError):
                errors[index] = _told(found, photos[index], console)
            else:
                scores = found.scores() if with_scores else None
                name = photos[index].name
                written[index] = pool.submit(
                    _write, folder, name, found, scores, source=source, legend=legend
                )
                writing.append(index)
                while len(writing) > 2 * threads:
                    written[writing.popleft()].result()
            progress.advance(task)
            rate = progress.tasks[task].speed
            said = f"{rate:.1f} images/s" if rate else ""
            progress.update(task, description="predicting", rate=said)
        entries = [written[index].result() for index in sorted(written)]
    return entries, [errors[index] for index in sorted(errors)]


def _told(error: InputError, photo: Photo, console: rich.console.Console) -> str:
    """What is wrong with a file, once the user has been told."""
    said = str(error)
    if photo.called is not None:
        said = said.replace(str(photo.path), photo.called)
    console.print(f"not segmented: {said}", markup=False, highlight=False, soft_wrap=True)
    return said


def _write(
    folder: epath.Path,
    name: str,
    result: SegmentationResult,
    scores: Float[np.ndarray, "h w classes"] | None,
    *,
    source: str,
    legend: bool,
) -> SheetEntry:
    """Writes the results of one image, whose files' names begin with `name`."""
    label, overlay, logits = (
        f"{name}_{kind}" for kind in ("label.png", "overlay.png", "logits.npy")
    )
    (folder / label).parent.mkdir(parents=True, exist_ok=True)
    result.save(folder / label)
    write_whole(folder / overlay, encode_png(np.asarray(result.picture(legend=legend))))
    files = {"overlay": overlay, "label": label}
    if scores is not None:
        buffer = io.BytesIO()
        np.save(buffer, scores)
        write_whole(folder / logits, buffer.getvalue())
        files["logits"] = logits
    return sheet_entry(name, files, result, source=source)
