"""The choice of images to show of an evaluation: some from all over, and the worst."""

import collections
import dataclasses
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8
from ml_collections import ConfigDict

from gcnet_jax.data import spread_over
from gcnet_jax.parallel import InputShard, rows_here
from gcnet_jax.tasks.segmentation.data import (
    DATA_SETS,
    EvaluationBatch,
    colorize,
    decode,
    images_in_part,
    label_overlay,
)
from gcnet_jax.tasks.segmentation.data.pictures import Palette
from gcnet_jax.tasks.segmentation.evaluation import Predicted

Label = UInt8[np.ndarray, "h w"]

_BATCHES_LATER = 3  # when the devices are done with a batch, and reading it waits for nothing


class ImageScore(NamedTuple):
    """How well one image is segmented, from 0 to 1.

    Attributes:
        iou: mean over the classes that its label has.
        accuracy: share of its labelled pixels that are right.
    """

    iou: float
    accuracy: float

    @classmethod
    def of(cls, areas: Int[np.ndarray, "3 classes"]) -> "ImageScore | None":
        """Returns the score of `Predicted.areas`; none where no pixel has a label."""
        right, labelled, predicted = areas.astype(np.int64)
        present = labelled > 0
        if not present.any():
            return None
        iou = right[present] / (labelled + predicted - right)[present]
        return cls(float(iou.mean()), float(right.sum() / labelled.sum()))


@dataclasses.dataclass(frozen=True)
class ShownImage:
    """One image of a split with all that an evaluation knows of it.

    Attributes:
        name: in the split.
        image: RGB.
        label: class indices; ignored pixels have none of a class.
        prediction: class indices.
        score: none where no pixel has a label.
    """

    name: str
    image: UInt8[np.ndarray, "h w 3"]
    label: Label
    prediction: Label
    score: ImageScore | None

    def pictures(self, palette: Palette) -> dict[str, UInt8[np.ndarray, "h w 3"]]:
        """All of it as pictures, by title."""
        return {
            "image": self.image,
            "label": colorize(self.label, palette),
            "prediction": colorize(self.prediction, palette),
            "prediction over the image": label_overlay(self.image, self.prediction, palette),
        }


class ShownImages:
    """Picks the images that are shown while an evaluation goes on, and keeps their predictions.

    Nothing is computed or compiled for them. Of several processes each picks from the part of the
    split that it evaluates.

    Args:
        config: of the run.
        split: of its data set.
        shard: the part of each batch that this process has.
        multi_scale: of the evaluation.
        count: how many are taken from all over the split, and how many of the worst.

    Attributes:
        available: how many images there are to pick from.
    """

    def __init__(
        self, config: ConfigDict, split: str, shard: InputShard, *, multi_scale: bool, count: int
    ):
        self._data, self._split, self._count = config.data, split, count
        of_part = {"shard_index": shard.index, "shard_count": shard.count}
        indices = images_in_part(config, split, multi_scale=multi_scale, **of_part)
        self.available = len(indices)
        self._spread = spread_over(indices, count)
        self._scores: dict[int, ImageScore | None] = {}
        self._worst: list[int] = []
        self._predictions: dict[int, Label] = {}
        self._under_way: collections.deque[tuple[list[int], list[list[int]], Predicted]] = (
            collections.deque()
        )

    def look(self, batch: EvaluationBatch, predicted: Predicted) -> None:
        """Takes a batch under way, and reads those that are done."""
        self._under_way.append((batch["index"].tolist(), batch["label_size"].tolist(), predicted))
        if len(self._under_way) > _BATCHES_LATER:
            self._read(*self._under_way.popleft())

    def spread(self) -> list[ShownImage]:
        """The images from all over the split, in its order; to be called after the evaluation."""
        return self._shown(self._spread)

    def worst(self) -> list[ShownImage]:
        """The images of the lowest IoU, the worst first; to be called after the evaluation."""
        self._read_all()
        return self._shown(self._worst)

    def _read_all(self) -> None:
        while self._under_way:
            self._read(*self._under_way.popleft())

    def _read(self, indices: list[int], sizes: list[list[int]], predicted: Predicted) -> None:
        areas = rows_here(predicted.areas)
        here = {index: row for row, index in enumerate(indices) if index >= 0}
        self._scores |= {index: ImageScore.of(areas[row]) for index, row in here.items()}
        self._worst = self._lowest([*self._worst, *here])
        wanted = {*self._spread, *self._worst}
        if new := wanted & here.keys():
            labels = rows_here(predicted.label)
            for index in new:
                height, width = sizes[here[index]]
                self._predictions[index] = labels[here[index], :height, :width].copy()
        self._predictions = {i: self._predictions[i] for i in wanted & self._predictions.keys()}

    def _lowest(self, indices: Iterable[int]) -> list[int]:
        scores = [(score, i) for i in indices if (score := self._scores[i]) is not None]
        return [i for _, i in sorted(scores)[: self._count]]

    def _shown(self, indices: Iterable[int]) -> list[ShownImage]:
        self._read_all()
        records = DATA_SETS.open_split(self._data.name, self._data.data_dir, self._split)
        shown = []
        for index in indices:
            record = records[index]
            sample, name = decode(record), record["name"].decode(errors="replace")
            prediction, score = self._predictions[index], self._scores[index]
            shown.append(ShownImage(name, sample["image"], sample["label"], prediction, score))
        return shown
