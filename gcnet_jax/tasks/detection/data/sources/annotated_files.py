"""Examples of image files with annotations that have been read beforehand, kept compactly."""

import dataclasses
import zlib
from array import array
from collections.abc import Sequence

import numpy as np
from etils import epath
from jaxtyping import Bool, Float32, Int32, Int64

from gcnet_jax.config import MAX_IMAGE_PIXELS
from gcnet_jax.data.image_files import read_displayed
from gcnet_jax.data.orientation import turned
from gcnet_jax.errors import InputError
from gcnet_jax.tasks.detection.data.annotations import Annotations
from gcnet_jax.tasks.detection.data.records import LoadedExample, joined_masks
from gcnet_jax.tasks.detection.data.run_lengths import counts_of, pixels_of

_FLIPS = {
    # by EXIF orientation: whether columns are reversed, rows are, and both are exchanged then
    1: (False, False, False),
    2: (True, False, False),
    3: (True, True, False),
    4: (False, True, False),
    5: (False, False, True),
    6: (False, True, True),
    7: (True, True, True),
    8: (True, False, True),
}


@dataclasses.dataclass(frozen=True, eq=False)
class AnnotationTable:
    """The annotations of many images, in arrays of all of them, image by image.

    Attributes:
        images: the number of the image of each, ascending.
        ids: what the data set calls each.
        numbers: x, y, width, height and area of each.
        classes: of each.
        crowds: whether each is a crowd.
        ends: in `counts`, where the run lengths of each begin and end.
        counts: run lengths of all masks; None in sets of boxes alone.
    """

    images: Int32[np.ndarray, " n"]
    ids: Int64[np.ndarray, " n"]
    numbers: Float32[np.ndarray, "n 5"]
    classes: Int32[np.ndarray, " n"]
    crowds: Bool[np.ndarray, " n"]
    ends: Int64[np.ndarray, "n 2"]
    counts: bytearray | None

    def of_image(self, image: int) -> Annotations:
        """Returns what is annotated in an image, in the order in which it has been added."""
        where, counts = self._rows(image), self.counts
        return Annotations(
            self.numbers[where, :4],
            self.classes[where],
            self.crowds[where],
            self.numbers[where, 4],
            None
            if counts is None
            else tuple(bytes(counts[start:end]) for start, end in self.ends[where].tolist()),
        )

    def ids_of_image(self, image: int) -> list[int]:
        """Returns what the data set calls the annotations of an image, in the same order."""
        return self.ids[self._rows(image)].tolist()

    def _rows(self, image: int) -> slice:
        return slice(*np.searchsorted(self.images, [image, image + 1]).tolist())


class AnnotationRows:
    """Annotations of which a table is made, as they come."""

    def __init__(self) -> None:
        self._images = array("i")
        self._ids = array("q")
        self._numbers = array("f")
        self._classes = array("i")
        self._crowds = array("b")
        self._ends = array("q", [0])
        self._counts = bytearray()
        self._have_masks = False

    def add(
        self,
        image: int,
        annotation_id: int,
        box: Sequence[float],
        area: float,
        label: int,
        is_crowd: bool,
        mask: bytes | None,
    ) -> None:
        """Adds what is annotated last; see `Annotations`.

        Args:
            image: a number of its own for each image, from 0.
            annotation_id: what the data set calls the annotation.
            box: x, y, width and height.
            area: in pixels.
            label: index of the class.
            is_crowd: whether it is a crowd.
            mask: the counts of its run lengths, if it has any.
        """
        self._images.append(image)
        self._ids.append(annotation_id)
        self._numbers.extend(box)
        self._numbers.append(area)
        self._classes.append(label)
        self._crowds.append(is_crowd)
        if mask is not None:
            self._have_masks = True
            self._counts += mask
        self._ends.append(len(self._counts))

    def table(self) -> AnnotationTable:
        """Returns them image by image, each image's in the order in which they have been added."""
        images = np.frombuffer(self._images, np.int32)
        order = np.argsort(images, kind="stable")
        ends = np.frombuffer(self._ends, np.int64)
        return AnnotationTable(
            images[order],
            np.frombuffer(self._ids, np.int64)[order],
            np.frombuffer(self._numbers, np.float32).reshape(-1, 5)[order],
            np.frombuffer(self._classes, np.int32)[order],
            np.frombuffer(self._crowds, np.int8)[order] > 0,
            np.stack([ends[:-1][order], ends[1:][order]], -1),
            self._counts if self._have_masks else None,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class AnnotatedFile:
    """An example whose image is a file.

    Attributes:
        name: of the example, and of the file below the folder.
        folder: of the images.
        image_id: what the data set calls the image.
        number: of the image in the table.
        table: of the annotations.
        size: (height, width) of the image as it is displayed.
        orientation: by which the annotations have to be turned with it, see
            `gcnet_jax.data.image_files.ImageFile`; 1 where they have not.
        max_pixels: most pixels of the image.
    """

    name: str
    folder: epath.Path
    image_id: int
    number: int
    table: AnnotationTable
    size: tuple[int, int]
    orientation: int = 1
    max_pixels: int = MAX_IMAGE_PIXELS

    def fingerprint(self) -> str:
        """Name, size and time of change of the file, and what is annotated."""
        stat = (self.folder / self.name).stat()
        annotated = 0
        for part in self.table.of_image(self.number):
            if part is not None:
                encoded = joined_masks(part) if isinstance(part, tuple) else part.tobytes()
                annotated = zlib.crc32(encoded, annotated)
        described = f"{self.image_id} {self.orientation} {annotated:08x}"
        return f"{self.name} {described} {stat.length} {stat.mtime}"

    def load(self) -> LoadedExample:
        """Reads and checks the file.

        Raises:
            InputError: if it cannot be read, or is not what it said to be before.
        """
        path = self.folder / self.name
        image = read_displayed(path, max_pixels=self.max_pixels)
        height, width, _ = image.pixels.shape
        annotations = self.table.of_image(self.number)
        if (height, width) != self.size or self.orientation not in (1, image.orientation):
            raise InputError(
                f"{path} is {height}x{width} (height x width) with the EXIF orientation "
                f"{image.orientation}, but {self.size[0]}x{self.size[1]} when its header was read; "
                "save it anew"
            )
        if self.orientation != 1:
            annotations = _turned(annotations, self.size, self.orientation)
        return LoadedExample(image.encoded, image.pixels, self.image_id, annotations)


def _turned(annotations: Annotations, size: tuple[int, int], orientation: int) -> Annotations:
    """Turns annotations of an image as it is stored into those of it as it is displayed.

    Args:
        annotations: on the pixels as stored.
        size: (height, width) as displayed.
        orientation: 1 to 8.
    """
    stored = (size[1], size[0]) if orientation >= 5 else size
    masks = annotations.masks
    if masks is not None:
        masks = tuple(
            counts_of(turned(pixels_of([mask], stored)[0], orientation)) for mask in masks
        )
    boxes = _turned_boxes(annotations.boxes, stored, orientation)
    return annotations._replace(boxes=boxes, masks=masks)


def _turned_boxes(
    boxes: Float32[np.ndarray, "n 4"], stored: tuple[int, int], orientation: int
) -> Float32[np.ndarray, "n 4"]:
    reverse_columns, reverse_rows, exchange = _FLIPS[orientation]
    x, y, width, height = boxes.T
    if reverse_columns:
        x = stored[1] - x - width
    if reverse_rows:
        y = stored[0] - y - height
    columns = (y, x, height, width) if exchange else (x, y, width, height)
    return np.stack(columns, -1)
