"""Average precision as COCO defines it: by pycocotools."""

import contextlib
import dataclasses
import functools
import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from pycocotools import mask as coco_masks
from pycocotools.cocoeval import COCOeval

from gcnet_jax.tasks.detection.data import Annotations
from gcnet_jax.tasks.detection.evaluation.image_detections import ImageDetections

Kind = Literal["box", "mask"]
"""What overlaps are measured of."""

_OVERLAPS: Mapping[Kind, Literal["bbox", "segm"]] = {"box": "bbox", "mask": "segm"}
LIMITS = (100, 300, 1000)
"""Detections of an image that count, the surest of each class; mmdetection's choice."""
_ALL_SIZES, _MOST = 0, -1  # places among sizes of objects and among LIMITS
_NOTHING = -1  # pycocotools' figure where no object is annotated
_PRECISIONS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
_RECALLS = ("AR100", "AR300", "AR1000", "ARs", "ARm", "ARl")


@dataclasses.dataclass(frozen=True, eq=False)
class AveragePrecision:
    """How well detections agree with what is annotated, by class, overlap and size of objects.

    A figure is NaN where no object is annotated that it could be of.

    Attributes:
        precision: the largest at that recall or more, by overlap (`overlaps`), recall (`recalls`),
            class, size of objects (all, small, medium, large) and `LIMITS`.
        recall: by overlap, class, size and limit.
        overlaps: from which a detection is of an object, 0.5 to 0.95.
        recalls: 0 to 1.
        figures: the twelve by which COCO sums it up, from 0 to 1: `AP` over all overlaps (of the
            100 surest of an image and class, where the others are of 1000), at 0.5 and 0.75, and of
            small, medium and large objects; and the recalls `AR100` and so on.
    """

    precision: Float[np.ndarray, "overlaps recalls classes sizes limits"]
    recall: Float[np.ndarray, "overlaps classes sizes limits"]
    overlaps: Float[np.ndarray, " overlaps"]
    recalls: Float[np.ndarray, " recalls"]
    figures: Mapping[str, float]

    @property
    def precisions(self) -> dict[str, float]:
        """The first six figures."""
        return {name: self.figures[name] for name in _PRECISIONS}

    @property
    def average_recalls(self) -> dict[str, float]:
        """The last six figures."""
        return {name: self.figures[name] for name in _RECALLS}

    @functools.cached_property
    def by_class(self) -> dict[str, Float[np.ndarray, " classes"]]:
        """`AP`, `AP50` and `AP75` of each class."""
        of_overlaps = self.curves.mean(1)
        return {
            # In mmdetection's order of summing, to the last digit.
            "AP": np.array(
                [of_class.ravel().mean() for of_class in np.moveaxis(self.curves, 2, 0)]
            ),
            "AP50": of_overlaps[self._place(0.5)],
            "AP75": of_overlaps[self._place(0.75)],
        }

    @property
    def curves(self) -> Float[np.ndarray, "overlaps recalls classes"]:
        """Precision by recall, of objects of all sizes."""
        return self.precision[:, :, :, _ALL_SIZES, _MOST]

    def curve(self, overlap: float | None = None) -> Float[np.ndarray, " recalls"]:
        """Returns precision by recall, mean over the classes that are annotated.

        Args:
            overlap: from which a detection is of an object; None for the mean over all.
        """
        there = ~np.isnan(self.curves).any((0, 1))
        if not there.any():
            return np.full(len(self.recalls), np.nan)
        of_overlaps = self.curves[:, :, there].mean(2)
        return of_overlaps.mean(0) if overlap is None else of_overlaps[self._place(overlap)]

    def _place(self, overlap: float) -> int:
        return int(np.abs(self.overlaps - overlap).argmin())


def average_precision(
    annotated: Sequence[Annotations],
    detected: Sequence[ImageDetections],
    *,
    num_classes: int,
    kind: Kind,
) -> AveragePrecision:
    """Returns how well detections agree with what is annotated.

    pycocotools compares class by class, so that memory is needed for one at a time, and an image
    with nothing of a class costs no time.

    Args:
        annotated: of each image.
        detected: of the same images, in that order.
        num_classes: classes that are told apart.
        kind: whether boxes overlap or masks. Areas of detections are of the same.
    """
    objects, found = _objects(annotated, detected, kind), _found(detected, kind)
    whole = _evaluator(kind, range(num_classes))
    params = whole.params
    shape = (len(params.iouThrs), len(params.recThrs), len(params.areaRng), len(LIMITS))
    overlaps, recalls, sizes, limits = shape
    precision = np.full((overlaps, recalls, num_classes, sizes, limits), float(_NOTHING))
    recall = np.full((overlaps, num_classes, sizes, limits), float(_NOTHING))
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        for index in range(num_classes):
            of_class = objects.of_class(index)
            if all(each["iscrowd"] for each in of_class):
                continue  # nothing that could be found, and nothing that pycocotools would say
            one = _evaluator(kind, [index], of_class, found.of_class(index))
            one.evaluate()
            one.accumulate()
            precision[:, :, index] = one.eval["precision"][:, :, 0]
            recall[:, index] = one.eval["recall"][:, 0]
        whole.eval = {"precision": precision, "recall": recall}
        whole.summarize()
    precision, recall, figures = (
        np.where(x == _NOTHING, np.nan, x) for x in (precision, recall, whole.stats)
    )
    named = dict(zip((*_PRECISIONS, *_RECALLS), figures.tolist(), strict=True))
    return AveragePrecision(precision, recall, params.iouThrs, params.recThrs, named)


class _Rows(NamedTuple):
    """What is annotated or detected in all images.

    Attributes:
        images: the place of the image of each.
        classes: of each.
        overlapping: name and values of what overlaps are measured of: boxes (x, y, width, height),
            or masks as run lengths with their sizes.
        values: by name, what else pycocotools is to know of each.
    """

    images: Int[np.ndarray, " n"]
    classes: Int[np.ndarray, " n"]
    overlapping: tuple[str, Sequence[Any]]
    values: Mapping[str, Float[np.ndarray, " n"]]

    def of_class(self, index: int) -> list[dict[str, Any]]:
        """Returns those of a class, each as pycocotools takes it."""
        chosen = np.flatnonzero(self.classes == index)
        images = self.images[chosen].tolist()
        values = {name: array[chosen].tolist() for name, array in self.values.items()}
        name, shapes = self.overlapping
        return [
            {
                "id": row + 1,  # pycocotools takes 0 for nothing
                "image_id": images[row],
                "category_id": index,
                name: shapes[place],
                **{key: of_key[row] for key, of_key in values.items()},
            }
            for row, place in enumerate(chosen.tolist())
        ]


def _objects(
    annotated: Sequence[Annotations], detected: Sequence[ImageDetections], kind: Kind
) -> _Rows:
    boxes, areas, crowds = (
        np.concatenate([empty, *(getattr(each, name) for each in annotated)]).astype(float)
        for name, empty in (("boxes", np.empty((0, 4))), ("areas", []), ("crowds", []))
    )
    overlapping = _overlapping(kind, boxes, [each.masks for each in annotated], detected)
    return _rows(annotated, overlapping, {"area": areas, "iscrowd": crowds})


def _found(detected: Sequence[ImageDetections], kind: Kind) -> _Rows:
    corners = np.concatenate([np.empty((0, 4)), *(each.boxes for each in detected)]).astype(float)
    scores = np.concatenate([[], *(each.scores for each in detected)]).astype(float)
    lengths = corners[:, 2:] - corners[:, :2]
    boxes = np.concatenate([corners[:, :2], lengths], axis=1)
    overlapping = _overlapping(kind, boxes, [each.masks for each in detected], detected)
    areas = lengths.prod(1) if kind == "box" else _areas(overlapping[1])
    return _rows(detected, overlapping, {"area": areas, "score": scores})


def _rows(
    images: Sequence[Annotations] | Sequence[ImageDetections],
    overlapping: tuple[str, Sequence[Any]],
    values: Mapping[str, Float[np.ndarray, " n"]],
) -> _Rows:
    counts = [len(each.classes) for each in images]
    classes = np.concatenate([[], *(each.classes for each in images)]).astype(int)
    return _Rows(np.repeat(np.arange(len(counts)), counts), classes, overlapping, values)


def _overlapping(
    kind: Kind,
    boxes: Float[np.ndarray, "n 4"],
    masks: Sequence[tuple[bytes, ...] | None],
    detected: Sequence[ImageDetections],
) -> tuple[str, Sequence[Any]]:
    if kind == "box":
        return "bbox", boxes.tolist()
    shapes = []
    for image, of_image in zip(detected, masks, strict=True):
        if of_image is None:
            raise ValueError(f"image {image.index} has boxes alone; expected masks")
        shapes += [{"size": list(image.size), "counts": counts} for counts in of_image]
    return "segmentation", shapes


def _areas(masks: Sequence[Any]) -> Float[np.ndarray, " n"]:
    # One at a time: with NumPy 2 pycocotools 2.0.11 fails for more than 255.
    return np.array([coco_masks.area(mask) for mask in masks], float)


class _OfClass:
    """What is annotated or detected of a class: as much of `pycocotools.coco.COCO` as is used.

    That class itself takes files, or prints and copies.
    """

    def __init__(self, rows: Sequence[dict[str, Any]]):
        self._rows = rows

    def getAnnIds(self, **_: Any) -> None:
        """Names nothing: `loadAnns` returns all there is."""

    def loadAnns(self, _: None) -> Sequence[dict[str, Any]]:
        """Returns all of the class."""
        return self._rows

    def annToRLE(self, row: dict[str, Any]) -> dict[str, Any]:
        """Returns the run lengths of a mask."""
        return row["segmentation"]


def _evaluator(
    kind: Kind,
    classes: Sequence[int],
    objects: Sequence[dict[str, Any]] = (),
    found: Sequence[dict[str, Any]] = (),
) -> Any:
    """What compares them, in the images that have some."""
    evaluator: Any = COCOeval(iouType=_OVERLAPS[kind])
    evaluator.params.maxDets, evaluator.params.catIds = list(LIMITS), list(classes)
    evaluator.params.imgIds = sorted({each["image_id"] for each in (*objects, *found)})
    evaluator.cocoGt, evaluator.cocoDt = _OfClass(objects), _OfClass(found)
    return evaluator
