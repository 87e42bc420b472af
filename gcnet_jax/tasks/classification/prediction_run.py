"""Files in, files out: all images classified, their results written, progress shown."""

import io
from collections.abc import Sequence

import numpy as np
import rich.progress
from etils import epath
from ml_collections import ConfigDict

from gcnet_jax.data import encode_png
from gcnet_jax.errors import InputError
from gcnet_jax.files import write_whole
from gcnet_jax.models import merge
from gcnet_jax.task import Photo, PredictionOptions, PretrainedModel, TrainedModel, Written
from gcnet_jax.tasks.classification.result import ClassificationResult
from gcnet_jax.tasks.classification.trained_classifier import TrainedClassifier
from gcnet_jax.tasks.contact_sheet import ClassShare, SheetEntry, add_to_sheet, sheet_entry
from gcnet_jax.tasks.predictions import told

_SWATCH = (31, 111, 235)  # beside the names of classes, which have no colours of their own


def predict_photos(
    trained: TrainedModel,
    config: ConfigDict,
    photos: Sequence[Photo],
    folder: epath.Path,
    options: PredictionOptions,
) -> Written:
    """Classifies images, and writes what comes of them.

    Of each image NAME the folder gets `NAME_classes.json`, the five most likely classes with their
    probabilities, and `NAME_overlay.png`, the image with the first three above it; and a page of
    all results, `index.html`.

    Args:
        trained: the classifier.
        config: of the run.
        photos: the files.
        folder: of the results, which is there; folders in it are made as names have them.
        options: how to write them; with scores all probabilities go to `NAME_probabilities.npy`.

    Raises:
        InputError: a result cannot be written.
    """
    model = merge(trained.graphdef, trained.variables)
    network = TrainedClassifier(PretrainedModel(model, trained.meaning, trained.checkpoint), config)
    entries: list[SheetEntry] = []
    errors: list[str] = []
    size = min(config.evaluation.batch_size, max(len(photos), 1))
    with rich.progress.Progress(console=options.console) as progress:
        shown = progress.add_task("predicting", total=len(photos))
        waiting: list[tuple[Photo, np.ndarray]] = []
        for number, photo in enumerate(photos, start=1):
            try:
                waiting.append((photo, network.pixels(photo.path)))
            except InputError as error:
                errors.append(told(error, photo, options.console))
                progress.advance(shown)
            if waiting and (len(waiting) == size or number == len(photos)):
                results = network.results([pixels for _, pixels in waiting], batch_size=size)
                for (each, _), result in zip(waiting, results, strict=True):
                    entries.append(_write(folder, each.name, result, options))
                    progress.advance(shown)
                waiting = []
    add_to_sheet(folder, entries, errors, overwrite=options.overwrite)
    return Written(len(entries), {}, errors)


def _write(
    folder: epath.Path, name: str, result: ClassificationResult, options: PredictionOptions
) -> SheetEntry:
    """Writes the results of one image, whose files' names begin with `name`."""
    files = {"overlay": f"{name}_overlay.png", "classes": f"{name}_classes.json"}
    (folder / files["overlay"]).parent.mkdir(parents=True, exist_ok=True)
    picture = result.picture()
    write_whole(folder / files["overlay"], encode_png(np.asarray(picture)))
    result.save(folder / files["classes"])
    if options.with_scores:
        buffer = io.BytesIO()
        np.save(buffer, result.scores())
        files["probabilities"] = f"{name}_probabilities.npy"
        write_whole(folder / files["probabilities"], buffer.getvalue())
    classes = [ClassShare(k, p, _SWATCH) for k, p in result.top().items()]
    return sheet_entry(name, files, picture, classes, source=options.source)
