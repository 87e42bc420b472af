"""Pictures of a detector's training: images with what is annotated, and with what it finds."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from etils import epath
from jaxtyping import UInt8
from ml_collections import ConfigDict
from PIL import Image

from gcnet_jax.data.picture_table import Row, draw_table, fitted
from gcnet_jax.parallel import InputShard
from gcnet_jax.task import ShowPicture
from gcnet_jax.tasks.detection.classes import ObjectClasses
from gcnet_jax.tasks.detection.config import BEST_METRIC
from gcnet_jax.tasks.detection.data import EvaluationBatch
from gcnet_jax.tasks.detection.detector import Detections
from gcnet_jax.tasks.detection.found_objects_picture import MOST_NAMED
from gcnet_jax.tasks.detection.pictures import ShownObject, draw_objects
from gcnet_jax.tasks.detection.shown_images import ShownImage, ShownImages
from gcnet_jax.training.run_pictures import Draw, RunPictures

_CELL = 480  # pixels: the width of a picture, and its greatest height


class TrainingPictures(RunPictures):
    """Pictures of images with boxes and masks, see `RunPictures`.

    After each evaluation they show the same few of its images, with what is annotated in them
    beside what the evaluation itself has found: nothing is computed or compiled for them.

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
        classes: ObjectClasses,
        workdir: epath.Path,
        shard: InputShard,
        show: ShowPicture,
    ):
        count = config.training.pictures
        super().__init__(workdir, BEST_METRIC, config.evaluation.split, count, show)
        self._classes = classes
        self._pick = functools.partial(
            ShownImages, config, self._split, shard, count=count, worst=0
        )
        self._shown: ShownImages | None = None

    def look(self, batch: EvaluationBatch, predicted: Detections) -> None:
        """Keeps what an evaluation finds in the images that are shown; waits for nothing."""
        if self._count:
            self._shown = self._shown or self._pick()
            self._shown.look(batch, predicted)

    def drawing_of_batch(self, batch: Any) -> Draw:
        """What draws some images of a training batch with the boxes and masks they are given."""
        number, total = self._count, len(batch["image"])
        kept = {key: np.array(x[:number]) for key, x in batch.items()}

        def draw() -> Image.Image:
            rows = []
            for index in range(len(kept["image"])):
                of_image = {key: x[index] for key, x in kept.items()}
                name = f"image {index + 1} of {total}, step 1"
                height, width = of_image["size"].tolist()
                shown = fitted(of_image["image"][:height, :width], _CELL)
                objects = _objects(of_image, self._classes.names, shown.shape[:2])
                rows.append(Row(name, (shown, np.asarray(draw_objects(shown, objects)))))
            return draw_table(["image", "to be found"], rows, [], cell=_CELL)

        return draw

    def drawing_of_evaluation(self) -> Draw:
        """What draws the images that are shown with what is annotated and what is found."""
        shown, self._shown = self._shown, None

        def draw() -> Image.Image:
            images = shown.spread() if shown is not None else []
            return image_table(images, self._classes)

        return draw


def image_table(images: Sequence[ShownImage], classes: ObjectClasses) -> Image.Image:
    """A row an image, with what is annotated beside what is found."""
    rows = []
    for image in images:
        pictures = image.pictures(classes, _CELL)
        rows.append(Row(image.name, [np.asarray(x) for x in pictures.values()]))
    return draw_table(["annotated", "found"], rows, [], cell=_CELL)


def _objects(
    of_image: Mapping[str, np.ndarray], names: Sequence[str], shown_size: tuple[int, int]
) -> list[ShownObject]:
    """The objects of one image of a training batch, in a copy of it that has another size."""
    size = of_image["size"].tolist()
    height, width = (shown / real for shown, real in zip(shown_size, size, strict=True))
    there = np.flatnonzero(of_image["valid"]).tolist()
    objects = []
    for row in there:
        box = of_image["boxes"][row] * np.array([width, height] * 2, np.float32)
        mask = None
        if "masks" in of_image:
            pixels = _unpacked(of_image["masks"][row])[: size[0], : size[1]]
            mask = cv2.resize(pixels, shown_size[::-1], interpolation=cv2.INTER_NEAREST) > 0
        words = names[int(of_image["classes"][row])] if len(there) <= MOST_NAMED else ""
        objects.append(ShownObject(box, words, mask))
    return objects


def _unpacked(bits: UInt8[np.ndarray, "h eighth_of_w"]) -> UInt8[np.ndarray, "h w"]:
    return np.unpackbits(bits, axis=-1)
