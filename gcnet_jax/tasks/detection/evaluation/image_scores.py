"""How many objects of one image are found, missed, and wrongly seen."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from pycocotools import mask as coco_masks

from gcnet_jax.tasks.detection.data import Annotations
from gcnet_jax.tasks.detection.evaluation.image_detections import FoundObjects

OVERLAP = 0.5
"""The overlap of boxes from which an object counts as found."""


class ImageScore(NamedTuple):
    """How well the objects of one image are found.

    Attributes:
        found: objects with a box of their class that overlaps theirs.
        missed: the other objects.
        wrong: boxes that are of no object, or of one that another has found.
    """

    found: int
    missed: int
    wrong: int

    @property
    def f1(self) -> float | None:
        """The share of objects and boxes that belong together; None where there are none."""
        of_all = 2 * self.found + self.missed + self.wrong
        return 2 * self.found / of_all if of_all else None


def score_image(annotations: Annotations, found: FoundObjects, *, min_score: float) -> ImageScore:
    """Returns how well the objects of an image are found.

    The surest box is looked at first, and takes the object that it overlaps most. Boxes in crowds
    are neither right nor wrong.

    Args:
        annotations: of the image.
        found: in it, the surest first.
        min_score: of boxes that are looked at.
    """
    hits = missed = wrong = 0
    sure = found.scores >= min_score
    for index in np.union1d(annotations.classes, found.classes[sure]).tolist():
        objects, boxes = annotations.classes == index, sure & (found.classes == index)
        crowds = annotations.crowds[objects]
        overlaps = _overlaps(found.boxes[boxes], annotations.boxes[objects], crowds)
        taken = np.zeros(len(crowds), bool)
        for row in overlaps:
            free = np.where(taken | crowds, 0, row)
            if free.max(initial=0) >= OVERLAP:
                taken[free.argmax()] = True
            elif row[crowds].max(initial=0) < OVERLAP:
                wrong += 1
        hits += int(taken.sum())
        missed += int((~taken & ~crowds).sum())
    return ImageScore(hits, missed, wrong)


def _overlaps(
    boxes: Float[np.ndarray, "boxes 4"], objects: Float[np.ndarray, "objects 4"], crowds: Any
) -> Float[np.ndarray, "boxes objects"]:
    """The overlaps of boxes (x1, y1, x2, y2) with objects (x, y, width, height)."""
    if not len(boxes) or not len(objects):
        return np.zeros((len(boxes), len(objects)))
    corners = boxes.astype(np.float64)
    lengths = corners[:, 2:] - corners[:, :2]
    found: Any = np.concatenate([corners[:, :2], lengths], axis=1)
    annotated: Any = objects.astype(np.float64)
    return np.asarray(coco_masks.iou(found, annotated, crowds.astype(np.uint8).tolist()))
