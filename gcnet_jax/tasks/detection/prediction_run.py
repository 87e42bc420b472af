"""Files in, files out: objects found in all images, results written, progress shown."""

import collections
import io
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import rich.progress
from etils import epath
from ml_collections import ConfigDict

from gcnet_jax.data import encode_png
from gcnet_jax.errors import InputError
from gcnet_jax.files import write_whole
from gcnet_jax.models import merge
from gcnet_jax.task import Photo, PredictionOptions, PretrainedModel, TrainedModel, Written
from gcnet_jax.tasks.contact_sheet import ClassShare, SheetEntry, add_to_sheet, sheet_entry
from gcnet_jax.tasks.detection.coco_results import CocoResults
from gcnet_jax.tasks.detection.pictures import object_color
from gcnet_jax.tasks.detection.result import DetectionResult
from gcnet_jax.tasks.detection.trained_detector import TrainedDetector
from gcnet_jax.tasks.predictions import told

_MAX_THREADS = 8


def predict_photos(
    trained: TrainedModel,
    config: ConfigDict,
    photos: Sequence[Photo],
    folder: epath.Path,
    options: PredictionOptions,
) -> Written:
    """Finds the objects in images, and writes what comes of them.

    Of each image NAME the folder gets `NAME_objects.json`, a list with the class, its index, the
    score, the box (x1, y1, x2, y2) in pixels and the mask as run lengths (`size` and `counts`, as
    pycocotools reads them) of each object, the surest first; and `NAME_overlay.png`, the image with
    those drawn that have a score from 0.3. All together are in `coco_results.json`, see
    `CocoResults`, and on a page of all results, `index.html`.

    Args:
        trained: the detector.
        config: of the run.
        photos: the files.
        folder: of the results, which is there; folders in it are made as names have them.
        options: how to write them; with scores the arrays of an image go to `NAME_objects.npz`:
            `boxes`, `scores`, `labels`, and how sure the network is of each position of a box.

    Raises:
        InputError: a result cannot be written.
    """
    model = merge(trained.graphdef, trained.variables)
    network = TrainedDetector(PretrainedModel(model, trained.meaning, trained.checkpoint), config)
    errors: dict[int, str] = {}
    entries: dict[int, SheetEntry] = {}
    threads = min(os.cpu_count() or 1, _MAX_THREADS)
    with (
        CocoResults(folder, trained.meaning, overwrite=options.overwrite) as together,
        rich.progress.Progress(console=options.console) as progress,
        ThreadPoolExecutor(threads) as pool,
    ):
        shown = progress.add_task("predicting", total=len(photos))
        writing: collections.deque[tuple[int, Future[SheetEntry]]] = collections.deque()

        def wait(*, keep: int) -> None:
            while len(writing) > keep:
                index, written = writing.popleft()
                entries[index] = written.result()
                progress.advance(shown)

        for index, found in network.detect([photo.path for photo in photos]):
            if isinstance(found, InputError):
                errors[index] = told(found, photos[index], options.console)
                progress.advance(shown)
                continue
            name = photos[index].name
            writing.append((index, pool.submit(_write, folder, name, found, options)))
            together.add(name, found)
            wait(keep=2 * threads)
        wait(keep=0)
    in_order = [entries[index] for index in sorted(entries)]
    told_errors = [errors[index] for index in sorted(errors)]
    add_to_sheet(folder, in_order, told_errors, overwrite=options.overwrite)
    return Written(len(in_order), {}, told_errors)


def _write(
    folder: epath.Path, name: str, result: DetectionResult, options: PredictionOptions
) -> SheetEntry:
    """Writes the results of one image, whose files' names begin with `name`."""
    files = {"overlay": f"{name}_overlay.png", "objects": f"{name}_objects.json"}
    (folder / files["overlay"]).parent.mkdir(parents=True, exist_ok=True)
    picture = result.picture()
    write_whole(folder / files["overlay"], encode_png(np.asarray(picture)))
    result.save(folder / files["objects"])
    if options.with_scores:
        buffer, arrays = io.BytesIO(), result.arrays()
        np.savez(buffer, allow_pickle=False, **arrays)
        files["arrays"] = f"{name}_objects.npz"
        write_whole(folder / files["arrays"], buffer.getvalue())
    classes: dict[str, ClassShare] = {}
    for row, (label, score) in enumerate(zip(result.labels, result.scores, strict=True)):
        class_name = result.names[label]  # with the score and the colour of its surest object
        share = ClassShare(class_name, float(score), object_color(row))
        classes.setdefault(class_name, share)
    note = "1 object" if len(result) == 1 else f"{len(result)} objects"
    return sheet_entry(
        name, files, picture, list(classes.values()), source=options.source, note=note
    )
