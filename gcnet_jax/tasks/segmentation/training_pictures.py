"""Pictures of a segmentor's training: images with their labels, and with its predictions."""

from typing import NamedTuple

from etils import epath
from jaxtyping import Array, UInt8
from ml_collections import ConfigDict
from PIL import Image

from gcnet_jax.data.picture_table import RGB, fitted
from gcnet_jax.parallel import InputShard, rows_here
from gcnet_jax.task import ShowPicture
from gcnet_jax.tasks.segmentation.config import BEST_METRIC
from gcnet_jax.tasks.segmentation.data import (
    DATA_SETS,
    Batch,
    DatasetClasses,
    EvaluationBatch,
    decode,
    images_in_part,
    label_overlay,
)
from gcnet_jax.tasks.segmentation.data.sample_picture import Label, LabelRow, draw_label_table
from gcnet_jax.tasks.segmentation.evaluation import Predicted
from gcnet_jax.training.run_pictures import Draw, RunPictures

_CELL = 320  # pixels: the width of a picture, and its greatest height
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


class TrainingPictures(RunPictures):
    """Pictures of images, labels and predictions, see `RunPictures`.

    After each evaluation they show the same few of its images, with their labels and with the
    predictions that `look` takes from the evaluation itself: nothing is computed or compiled for
    them.

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
        super().__init__(
            workdir, BEST_METRIC, config.evaluation.split, config.training.pictures, show
        )
        self._data, self._classes = config.data, classes
        in_part = images_in_part(
            config, self._split, shard_index=shard.index, shard_count=shard.count
        )
        count = min(self._count, len(in_part))
        self._indices = [in_part[i * len(in_part) // count] for i in range(count)]
        self._examples: list[_Example] = []  # read when the first of them are drawn
        self._predictions: dict[int, _Prediction] = {}

    def look(self, batch: EvaluationBatch, predicted: Predicted) -> None:
        """Keeps what an evaluation predicts for the images that are shown; waits for nothing."""
        for row, index in enumerate(batch["index"].tolist()):
            if index in self._indices:
                height, width = batch["label_size"][row].tolist()
                self._predictions[index] = _Prediction(predicted.label, row, (height, width))

    def drawing_of_batch(self, batch: Batch) -> Draw:
        """What draws some images of a training batch with their labels."""
        size = len(batch["image"])
        images, labels = (batch[key][: self._count].copy() for key in ("image", "label"))

        def draw() -> Image.Image:
            rows = []
            for i, (image, label) in enumerate(zip(images, labels, strict=True), start=1):
                image, label = fitted(image, _CELL), fitted(label, _CELL)
                overlay = label_overlay(image, label, self._classes.palette)
                rows.append(LabelRow(f"image {i} of {size}, step 1", (image, label, overlay)))
            return draw_label_table(_OF_THE_BATCH, rows, self._classes, cell=_CELL)

        return draw

    def drawing_of_evaluation(self) -> Draw:
        """What draws the images that are shown with their labels and predictions."""
        predictions, self._predictions = self._predictions, {}

        def draw() -> Image.Image:
            self._examples = self._examples or self._read_examples()
            rows = []
            for index, (title, image, label) in zip(self._indices, self._examples, strict=True):
                predicted = fitted(predictions[index].read(), _CELL)
                rows.append(LabelRow(title, (image, label, predicted)))
            return draw_label_table(_OF_AN_EVALUATION, rows, self._classes, cell=_CELL)

        return draw

    def _read_examples(self) -> list[_Example]:
        records = DATA_SETS.open_split(self._data.name, self._data.data_dir, self._split)
        examples = []
        for record in (records[index] for index in self._indices):
            sample, title = decode(record), f"{self._split}: {record['name'].decode()}"
            image, label = fitted(sample["image"], _CELL), fitted(sample["label"], _CELL)
            examples.append(_Example(title, image, label))
        return examples
