"""Files in, files out: every image segmented and its results written, with progress shown."""

import collections
import io
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import rich.console
import rich.progress
from etils import epath
from jaxtyping import Float

from gcnet_jax.data.records import encode_png
from gcnet_jax.errors import InputError
from gcnet_jax.files import write_whole
from gcnet_jax.tasks.segmentation.contact_sheet import (
    SHEET,
    SheetEntry,
    contact_sheet,
    preview,
)
from gcnet_jax.tasks.segmentation.predictor import Predictor
from gcnet_jax.tasks.segmentation.result import SegmentationResult

_MAX_THREADS = 8


class Photo(NamedTuple):
    """An image file, and what its results are called in their folder."""

    path: epath.Path
    name: str


class Written(NamedTuple):
    """What became of the images.

    Attributes:
        done: how many were segmented, their results written.
        errors: for each other image, by its place among them, why not.
    """

    done: int
    errors: dict[int, InputError]


def predict_files(
    predictor: Predictor,
    photos: Sequence[Photo],
    folder: epath.Path,
    *,
    source: str,
    legend: bool = False,
    with_scores: bool = False,
    console: rich.console.Console,
) -> Written:
    """Segments image files and writes what comes of them, in threads beside the network.

    The folder gets a page of all results too, `index.html`.

    Args:
        predictor: that segments them.
        photos: the files.
        folder: of the results, which is there; folders in it are made as names have them.
        source: the weights, for the page.
        legend: whether the names of classes stand below each overlay.
        with_scores: whether to write the float32 scores of every pixel too.
        console: for the progress, and for the errors of files that cannot be read.

    Raises:
        InputError: a result cannot be written.
    """
    errors: dict[int, InputError] = {}
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
                errors[index] = found
                console.print(
                    f"not segmented: {found}", markup=False, highlight=False, soft_wrap=True
                )
            else:
                scores = found.scores() if with_scores else None
                name = photos[index].name
                written[index] = pool.submit(_write, folder, name, found, scores, legend=legend)
                writing.append(index)
                while len(writing) > 2 * threads:
                    written[writing.popleft()].result()
            progress.advance(task)
            rate = progress.tasks[task].speed
            said = f"{rate:.1f} images/s" if rate else ""
            progress.update(task, description="predicting", rate=said)
        entries = [written[index].result() for index in sorted(written)]
    said = [str(errors[index]) for index in sorted(errors)]
    page = contact_sheet(entries, said, predictor.palette, source=source)
    write_whole(folder / SHEET, page)
    return Written(len(photos) - len(errors), errors)


def _write(
    folder: epath.Path,
    name: str,
    result: SegmentationResult,
    scores: Float[np.ndarray, "h w classes"] | None,
    *,
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
    return SheetEntry(name, files, preview(result), result.shares)
