"""Annotations of a json in COCO's format, checked one by one and kept compactly."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pycocotools.mask
from etils import epath

from gcnet_jax.tasks.detection.classes import ObjectClasses
from gcnet_jax.tasks.detection.data.annotations import masks_without_pixels, reasons_against
from gcnet_jax.tasks.detection.data.sources.annotated_files import AnnotationRows, AnnotationTable
from gcnet_jax.tasks.detection.data.sources.coco_images import Described, FoundImage
from gcnet_jax.tasks.detection.data.sources.faults import Faults
from gcnet_jax.tasks.detection.data.sources.json_elements import read_elements
from gcnet_jax.tasks.detection.data.sources.numbers import MOST, is_finite, is_id, shown
from gcnet_jax.tasks.detection.data.sources.segmentations import counts_of_segmentation


class Segmented:
    """The annotations with a segmentation: over the splits of a data set, all or none may have one.

    Attributes:
        number: of those that have.
        lacking: faults that name the others.
    """

    def __init__(self) -> None:
        self.number = 0
        self.lacking = Faults()


def read_annotations(
    path: epath.Path,
    described: Described,
    classes: ObjectClasses,
    segmented: Segmented,
    faults: Faults,
    *,
    skip_short: bool,
    advance: Callable[[int], None] = lambda characters: None,
) -> AnnotationTable:
    """Reads the annotations of a json; images are numbered as they are described.

    Args:
        path: of the json, of which the images have been read.
        described: those images.
        classes: of the data set.
        segmented: where to note which have a segmentation.
        faults: where to note what is wrong.
        skip_short: whether polygons of too few corners are passed over where others are left.
        advance: called with the number of characters that have been read since.

    Raises:
        InputError: the file has changed since its images were read, and is none any more.
    """
    reader = _Reader(path, described, classes, segmented, faults, skip_short)
    read_elements(path, {"annotations": reader.add}, advance)
    if described.known and not reader.number:
        what = "annotations: there are none, expected one to train on or to compare with at least"
        faults.add(path, "no annotations", what)
    return reader.rows.table()


def refuse_left_out(
    path: epath.Path, images: Sequence[FoundImage], table: AnnotationTable, faults: Faults
) -> None:
    """Notes as faults what would be left out of training: objects, and images without any.

    So are masks without a pixel, of which nothing can be learnt.

    Args:
        path: of the json.
        images: its images.
        table: its annotations.
        faults: where to note them.
    """
    for number, image in enumerate(images):
        annotations, ids = table.of_image(number), table.ids_of_image(number)
        if not ids:
            what = f"image {image.image_id}: has no annotation, expected one (--strict)"
            faults.add(path, "images without annotation", what)
        for reason, against in reasons_against(annotations, image.annotated_size).items():
            for index in (against & ~annotations.crowds).nonzero()[0].tolist():
                faults.add(
                    path,
                    f"objects {reason}",
                    f"annotation {ids[index]}: bbox {annotations.boxes[index].tolist()} and area "
                    f"{annotations.areas[index]:g} are {reason}, expected an object that can be "
                    "trained on (--strict)",
                )
        empty = masks_without_pixels(annotations, image.annotated_size) & ~annotations.crowds
        for index in empty.nonzero()[0].tolist():
            what = f"annotation {ids[index]}: no pixel is in its mask, expected one (--strict)"
            faults.add(path, "masks without a pixel", what)


class _Reader:
    """Checks annotations one by one, and puts those without fault into a table.

    Attributes:
        rows: of the table.
        number: of all annotations so far.
    """

    def __init__(
        self,
        path: epath.Path,
        described: Described,
        classes: ObjectClasses,
        segmented: Segmented,
        faults: Faults,
        skip_short: bool,
    ):
        self.rows = AnnotationRows()
        self._path = path
        self._faults = faults
        self._segmented = segmented
        self._skip_short = skip_short
        # Categories that the data set has not are at fault themselves: not each annotation too.
        self._labels = dict.fromkeys(described.classes.category_ids or (), 0) | {
            category_id: label for label, category_id in enumerate(classes.category_ids or ())
        }
        self._known = described.known
        self._numbers = {image.image_id: n for n, image in enumerate(described.images)}
        self._sizes = [image.annotated_size for image in described.images]
        self._ids: set[int] = set()
        self.number = 0
        self._where = ""

    def add(self, annotation: Any) -> None:
        self._where = where = f"annotation at position {self.number}"
        self.number += 1
        if not isinstance(annotation, dict):
            self._fault(
                "annotations that are none",
                f"{where}: is {shown(annotation)}, expected an object",
            )
            return
        annotation_id = annotation.get("id")
        if not is_id(annotation_id):
            self._fault(
                "ids that are none",
                f"{where}: id {shown(annotation_id)}, expected a whole number",
            )
            return
        self._where = f"annotation {annotation_id}"
        if annotation_id in self._ids:
            self._fault(
                "duplicate annotations", f"{self._where}: its id is there twice, expected once"
            )
            return
        self._ids.add(annotation_id)
        before = self._faults.number
        self._check_category(annotation.get("category_id"))
        self._check_flags(annotation)
        self._check_box(annotation.get("bbox"))
        self._check_area(annotation.get("area", 0))
        number = self._image(annotation.get("image_id"))
        mask = self._mask(annotation.get("segmentation"), number)
        if number is None or self._faults.number > before:
            return
        box = annotation["bbox"]
        self.rows.add(
            number,
            annotation_id,
            box,
            annotation["area"] if "area" in annotation else self._area(box, mask, number),
            self._labels[annotation["category_id"]],
            bool(annotation.get("iscrowd", 0)),
            mask,
        )

    def _check_category(self, category_id: Any) -> None:
        if not (is_id(category_id) and category_id in self._labels):
            self._fault(
                "unknown categories",
                f"{self._where}: category_id {shown(category_id)}, expected one of "
                f"{shown(sorted(self._labels))}",
            )

    def _check_flags(self, annotation: Mapping[str, Any]) -> None:
        crowd = annotation.get("iscrowd", 0)
        if type(crowd) not in (int, bool) or crowd not in (0, 1):
            self._fault(
                "flags that are none", f"{self._where}: iscrowd {shown(crowd)}, expected 0 or 1"
            )
        # Which mmdetection leaves out of training and pycocotools looks for all the same.
        elif annotation.get("ignore") and not crowd:
            self._fault(
                "objects to be ignored",
                f"{self._where}: ignore {shown(annotation['ignore'])}, expected none: remove the "
                "annotation, or set iscrowd to 1, of which nothing is trained on or to be found",
            )

    def _check_box(self, box: Any) -> None:
        if not isinstance(box, list) or len(box) != 4 or not all(map(is_finite, box)):
            expected = "expected 4 numbers: x, y, width and height"
        elif max(map(abs, box)) > MOST:
            expected = f"expected numbers up to {MOST:,}"
        elif box[2] < 0 or box[3] < 0:
            expected = "expected a width and a height of 0 or more"
        else:
            return
        self._fault("boxes that are none", f"{self._where}: bbox {shown(box)}, {expected}")

    def _check_area(self, area: Any) -> None:
        if not is_finite(area) or not 0 <= area <= MOST**2:
            self._fault(
                "areas that are none",
                f"{self._where}: area {shown(area)}, expected a number of pixels, 0 or more",
            )

    def _image(self, image_id: Any) -> int | None:
        """Returns the number of an annotation's image; None if it cannot be used."""
        if not (is_id(image_id) and image_id in self._known):
            self._fault(
                "annotations of unknown images",
                f"{self._where}: image_id {shown(image_id)}, expected the id of one of 'images'",
            )
            return None
        return self._numbers.get(image_id)

    def _mask(self, segmentation: Any, number: int | None) -> bytes | None:
        """Returns the run lengths of an annotation's mask, where its image can be used."""
        if not segmentation:  # boxes alone are often written with empty lists
            self._segmented.lacking.add(
                self._path,
                "annotations without segmentation",
                f"{self._where}: has no segmentation, expected one, as others have",
            )
            return None
        self._segmented.number += 1
        if number is None:
            return None
        mask = counts_of_segmentation(
            segmentation, self._sizes[number], skip_short=self._skip_short
        )
        if isinstance(mask, bytes):
            return mask
        self._fault("segmentations that are none", f"{self._where}: its segmentation {mask}")
        return None

    def _area(self, box: Sequence[float], mask: bytes | None, number: int) -> float:
        """Returns the area of an object where nobody has said it, as pycocotools has of results."""
        if mask is None:
            return box[2] * box[3]
        encoded: Any = {"size": list(self._sizes[number]), "counts": mask}
        return float(pycocotools.mask.area(encoded))

    def _fault(self, kind: str, what: str) -> None:
        self._faults.add(self._path, kind, what)
