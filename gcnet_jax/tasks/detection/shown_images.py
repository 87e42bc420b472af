"""The choice of images to show of an evaluation: some from all over, and the worst."""

import collections
import dataclasses
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict
from PIL import Image

from gcnet_jax.data import spread_over
from gcnet_jax.data.picture_table import fitted
from gcnet_jax.parallel import InputShard, rows_here
from gcnet_jax.tasks.detection.classes import ObjectClasses
from gcnet_jax.tasks.detection.data import (
    DATA_SETS,
    Annotations,
    EvaluationBatch,
    annotations_of,
    decode,
    images_in_part,
)
from gcnet_jax.tasks.detection.data.sample_picture import annotated_objects
from gcnet_jax.tasks.detection.detector import Detections
from gcnet_jax.tasks.detection.evaluation.image_detections import FoundObjects, Size
from gcnet_jax.tasks.detection.evaluation.image_scores import ImageScore, score_image
from gcnet_jax.tasks.detection.found_objects_picture import SHOWN_FROM, shown_objects
from gcnet_jax.tasks.detection.pictures import draw_objects

_BATCHES_LATER = 3  # when the devices are done with a batch, and reading it waits for nothing


@dataclasses.dataclass(frozen=True)
class ShownImage:
    """One image of a split with all that an evaluation knows of it.

    Attributes:
        name: in the split.
        image: RGB.
        annotations: of it.
        found: what the network has found.
        score: how well that agrees, of what has a score from `SHOWN_FROM`.
        mask_threshold: probability from which a pixel is an object's.
    """

    name: str
    image: UInt8[np.ndarray, "h w 3"]
    annotations: Annotations
    found: FoundObjects
    score: ImageScore
    mask_threshold: float

    def pictures(self, classes: ObjectClasses, cell: int) -> dict[str, Image.Image]:
        """What is annotated and what is found, by title, each as large as fits a square."""
        size, image = self.image.shape[:2], fitted(self.image, cell)
        shown_size = image.shape[:2]
        annotated = annotated_objects(self.annotations, classes, size, shown_size)
        found = shown_objects(
            self.found, classes.names, size, shown_size, mask_threshold=self.mask_threshold
        )
        return {
            "annotated": draw_objects(image, annotated),
            "found": draw_objects(image, found),
        }


class ShownImages:
    """Picks the images that are shown while an evaluation goes on, and keeps what is found in them.

    Nothing is computed or compiled for them. Of several processes each picks from the part of the
    split that it evaluates.

    Args:
        config: of the run.
        split: of its data set.
        shard: the part of each batch that this process has.
        count: how many are taken from all over the split.
        worst: how many of the worst, of which annotations are read while the evaluation goes on.

    Attributes:
        available: how many images there are to pick from.
    """

    def __init__(
        self, config: ConfigDict, split: str, shard: InputShard, *, count: int, worst: int
    ):
        data = config.data
        self._records: Any = DATA_SETS.open_split(data.name, data.data_dir, split)
        self._mask_threshold = config.model.test.mask_threshold
        self._number_of_worst = worst
        indices = sorted(
            images_in_part(config, split, shard_index=shard.index, shard_count=shard.count)
        )
        self.available = len(indices)
        self._spread = spread_over(indices, count)
        self._worst: list[tuple[float, int, int]] = []  # F1, minus mistakes, index
        self._found: dict[int, FoundObjects] = {}
        self._under_way: collections.deque[tuple[dict[str, Any], Detections]] = collections.deque()

    def look(self, batch: EvaluationBatch, predicted: Detections) -> None:
        """Takes a batch under way, and reads one that is done if there are worst to look for."""
        places = {key: batch[key].tolist() for key in ("index", "size", "original_size")}
        if self._number_of_worst or any(index in self._spread for index in places["index"]):
            self._under_way.append((places, predicted))
        if self._number_of_worst and len(self._under_way) > _BATCHES_LATER:
            self._read(*self._under_way.popleft())

    def spread(self) -> list[ShownImage]:
        """The images from all over the split, in its order; to be called after the evaluation."""
        return self._shown(self._spread)

    def worst(self) -> list[ShownImage]:
        """The images of the lowest F1, the worst first; to be called after the evaluation."""
        self._read_all()
        return self._shown(index for *_, index in self._worst)

    def _read_all(self) -> None:
        while self._under_way:
            self._read(*self._under_way.popleft())

    def _read(self, places: dict[str, Any], predicted: Detections) -> None:
        here = jax.tree.map(rows_here, predicted)
        for row, index in enumerate(places["index"]):
            if index < 0:
                continue
            seen, size = (_size(places[key][row]) for key in ("size", "original_size"))
            found = FoundObjects.of(here, row, seen=seen, size=size)
            if self._number_of_worst:
                self._rank(index, found)
            if index in self._spread or any(index == other for *_, other in self._worst):
                self._found[index] = found
        wanted = {*self._spread, *(index for *_, index in self._worst)}
        self._found = {index: self._found[index] for index in wanted & self._found.keys()}

    def _rank(self, index: int, found: FoundObjects) -> None:
        annotations = annotations_of(self._records[index])
        score = score_image(annotations, found, min_score=SHOWN_FROM)
        if score.f1 is not None and score.f1 < 1:
            ranked = [*self._worst, (score.f1, -score.missed - score.wrong, index)]
            self._worst = sorted(ranked)[: self._number_of_worst]

    def _shown(self, indices: Iterable[int]) -> list[ShownImage]:
        self._read_all()
        shown = []
        for index in indices:
            record, found = self._records[index], self._found[index]
            sample, name = decode(record), record["name"].decode(errors="replace")
            score = score_image(sample["annotations"], found, min_score=SHOWN_FROM)
            shown.append(
                ShownImage(
                    name,
                    sample["image"],
                    sample["annotations"],
                    found,
                    score,
                    self._mask_threshold,
                )
            )
        return shown


def _size(lengths: list[int]) -> Size:
    height, width = lengths
    return height, width
