"""What can be looked at while a segmentor trains: its first batch, what it predicts, its curves."""

import concurrent.futures
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from absl import logging
from etils import epath
from jaxtyping import Array, UInt8
from ml_collections import ConfigDict

from gcnet_jax.config import brief_reason
from gcnet_jax.data.picture_table import RGB, encoded, fitted
from gcnet_jax.errors import printable
from gcnet_jax.files import write_whole
from gcnet_jax.parallel import InputShard
from gcnet_jax.task import ShowPicture
from gcnet_jax.tasks.segmentation.data import (
    Batch,
    DatasetClasses,
    EvaluationBatch,
    decode,
    images_in_part,
    label_overlay,
    open_split,
)
from gcnet_jax.tasks.segmentation.data.sample_picture import Label, LabelRow, draw_label_table
from gcnet_jax.tasks.segmentation.evaluation import Predicted, rows_here
from gcnet_jax.training import read_rows

_FOLDER = "pictures"
_CELL = 320  # pixels: the width of a picture, and its greatest height
# The curves take a fifth of a second, of all that is drawn most: less than 1% of a short run too.
_SECONDS_BETWEEN_CURVES = 60.0
_OF_THE_BATCH = ("image", "label", "label over the image")
_OF_AN_EVALUATION = ("image", "label", "prediction")


class _Example(NamedTuple):
    """An image of the evaluated split, as large as it is shown."""

    title: str
    image: RGB
    label: Label


class _Prediction(NamedTuple):
    """Where an image's predictions are, on the devices: in a row, at the top left."""

    of_batch: UInt8[Array, "b h w"]
    row: int
    size: tuple[int, int]

    def read(self) -> Label:
        height, width = self.size
        return rows_here(self.of_batch)[self.row, :height, :width]


class TrainingPictures:
    """Draws into a run's workdir, as the `gcnet_jax.training.Observer` of its loop.

    - `pictures/first_batch.png`: some images of the first batch as they are trained on, with their
      labels;
    - `pictures/step_000100.png`: after each evaluation the same few of its images, with their
      labels and predictions, which `look` takes from the evaluation itself: nothing is computed or
      compiled for them;
    - `curves.png` then too, but once a minute at most, and in the end.

    TensorBoard gets the pictures as well. They are drawn in a thread, beside the steps that follow;
    what cannot be drawn is reported, and training goes on. Of several processes one draws, from its
    own part of the batches, and the others need not know.

    To be entered as a context, which ends when the thread is done.

    Args:
        config: of the run.
        classes: of its data set.
        workdir: its folder.
        shard: the part of each batch that this process has.
        show: shows a picture in the run's log.
    """

    def __init__(
        self,
        config: ConfigDict,
        classes: DatasetClasses,
        workdir: epath.Path,
        shard: InputShard,
        show: ShowPicture,
    ):
        self._data, self._split = config.data, config.evaluation.split
        self._classes, self._workdir, self._show = classes, workdir, show
        self._count = config.training.pictures
        in_part = images_in_part(
            config, self._split, shard_index=shard.index, shard_count=shard.count
        )
        count = min(self._count, len(in_part))
        self._indices = [in_part[i * len(in_part) // count] for i in range(count)]
        self._examples: list[_Example] = []  # read when the first of them are drawn
        self._predictions: dict[int, _Prediction] = {}
        self._thread = concurrent.futures.ThreadPoolExecutor(1)
        self._under_way: concurrent.futures.Future[None] | None = None
        self._next_curves = 0.0  # by `time.monotonic`
        self._has_drawn_curves = False  # up to the last evaluation

    def __enter__(self) -> "TrainingPictures":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def look(self, batch: EvaluationBatch, predicted: Predicted) -> None:
        """Keeps what an evaluation predicts for the images that are shown; waits for nothing."""
        for row, index in enumerate(batch["index"].tolist()):
            if index in self._indices:
                height, width = batch["label_size"][row].tolist()
                self._predictions[index] = _Prediction(predicted.label, row, (height, width))

    def first_batch(self, batch: Batch) -> None:
        """Draws some images of a training batch."""
        if self._count:
            size = len(batch["image"])
            images, labels = (batch[key][: self._count].copy() for key in ("image", "label"))
            self._start(lambda: self._draw_batch(images, labels, size))

    def evaluated(self, step: int) -> None:
        """Draws what the evaluation after `step` steps has predicted, perhaps with the curves."""
        if self._count:
            predictions, self._predictions = self._predictions, {}
            self._has_drawn_curves = curves = time.monotonic() >= self._next_curves
            if curves:
                self._next_curves = time.monotonic() + _SECONDS_BETWEEN_CURVES
            self._start(lambda: self._draw_evaluation(step, predictions, curves=curves))

    def finish(self) -> None:
        """Returns when all is drawn, the whole curves too."""
        if not self._has_drawn_curves:
            self._start(self._draw_curves)
        self._wait()

    def _start(self, draw: Callable[[], None]) -> None:
        """Begins to draw in the background, one thing after the other."""
        self._wait()
        self._under_way = self._thread.submit(draw)

    def _wait(self) -> None:
        if self._under_way is not None:
            self._under_way.result()

    def _draw_batch(
        self, images: UInt8[np.ndarray, "b h w 3"], labels: UInt8[np.ndarray, "b h w"], size: int
    ) -> None:
        with _reported(f"{_FOLDER}/first_batch.png"):
            rows = []
            for i, (image, label) in enumerate(zip(images, labels, strict=True), start=1):
                image, label = fitted(image, _CELL), fitted(label, _CELL)
                overlay = label_overlay(image, label, self._classes.palette)
                rows.append(LabelRow(f"image {i} of {size}, step 1", (image, label, overlay)))
            self._save("first_batch.png", _OF_THE_BATCH, rows, step=1, tag="train/first_batch")

    def _draw_evaluation(
        self, step: int, predictions: dict[int, _Prediction], *, curves: bool
    ) -> None:
        name = f"step_{step:06}.png"
        with _reported(f"{_FOLDER}/{name}"):
            self._examples = self._examples or self._read_examples()
            rows = []
            for index, (title, image, label) in zip(self._indices, self._examples, strict=True):
                predicted = fitted(predictions[index].read(), _CELL)
                rows.append(LabelRow(title, (image, label, predicted)))
            self._save(name, _OF_AN_EVALUATION, rows, step=step, tag=f"{self._split}/examples")
        if curves:
            self._draw_curves()

    def _draw_curves(self) -> None:
        with _reported("curves.png"):
            # matplotlib takes half a second to import, and the first step need not wait for it.
            from gcnet_jax.tasks.segmentation.pictures import Curve, save_curves

            curve = Curve(self._workdir.name, read_rows(self._workdir))
            save_curves(self._workdir / "curves.png", [curve])

    def _read_examples(self) -> list[_Example]:
        records = open_split(self._data.name, self._data.data_dir, self._split)
        examples = []
        for record in (records[index] for index in self._indices):
            sample, title = decode(record), f"{self._split}: {record['name'].decode()}"
            image, label = fitted(sample["image"], _CELL), fitted(sample["label"], _CELL)
            examples.append(_Example(title, image, label))
        return examples

    def _save(
        self, name: str, columns: Sequence[str], rows: Sequence[LabelRow], *, step: int, tag: str
    ) -> None:
        table = draw_label_table(columns, rows, self._classes, cell=_CELL)
        folder = self._workdir / _FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / name, encoded(table, "PNG"))
        # The file of events is written again and again where it lies in a bucket.
        self._show(step, tag, encoded(table, "JPEG"), (table.height, table.width))


@contextlib.contextmanager
def _reported(name: str) -> Iterator[None]:
    """Says what could not be drawn, and why: no run is lost for want of a picture."""
    try:
        yield
    except Exception as error:  # of drawing, a damaged record, a full disk, a bucket
        logging.warning("%s was not drawn: %s: %s", name, type(error).__name__, _brief(error))


def _brief(error: Exception) -> str:
    return printable(brief_reason(error))[:300]
