"""What comes of detecting the objects in one image."""

import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image

from gcnet_jax.errors import InputError
from gcnet_jax.files import as_path, write_whole
from gcnet_jax.task import Layer, Part
from gcnet_jax.tasks.detection.evaluation.image_detections import FoundObjects
from gcnet_jax.tasks.detection.found_objects_picture import SHOWN_FROM, shown_objects
from gcnet_jax.tasks.detection.pictures import ShownObject, draw_objects, object_color
from gcnet_jax.tasks.detection.regions.pasted_run_lengths import encode_part
from gcnet_jax.tasks.detection.regions.pasting_on_host import paste_on_host, paste_part


class DetectionResult:
    """The objects in one image, the surest first.

    Args:
        image: RGB, as it is displayed.
        boxes: (x1, y1, x2, y2) in pixels of the image.
        scores: of the boxes, from 0 to 1.
        labels: the indices of their classes.
        box_masks: how sure each position of a box is the object, from 0 to 1; None without masks.
        names: of the classes, by index.
        mask_threshold: from which a pixel is the object's.

    Attributes:
        image: RGB, as it is displayed.
        boxes: (x1, y1, x2, y2) in pixels of the image.
        scores: of the boxes, from 0 to 1.
        labels: the indices of their classes.
        names: of all classes, by index.
    """

    def __init__(
        self,
        image: UInt8[np.ndarray, "h w 3"],
        boxes: Float[np.ndarray, "n 4"],
        scores: Float[np.ndarray, " n"],
        labels: Int[np.ndarray, " n"],
        box_masks: Float[np.ndarray, "n side side"] | None,
        names: Sequence[str],
        *,
        mask_threshold: float = 0.5,
    ):
        self.image = image
        self.boxes = boxes
        self.scores = scores
        self.labels = labels
        self.names = tuple(names)
        self._box_masks = box_masks
        self._mask_threshold = mask_threshold

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def has_masks(self) -> bool:
        """Whether the network finds masks, and not boxes alone."""
        return self._box_masks is not None

    def mask(self, index: int) -> Bool[np.ndarray, "h w"]:
        """The pixels of the image that are an object's, computed when asked for.

        Raises:
            InputError: the network finds boxes alone.
        """
        box_mask = self._box_mask(index)
        return paste_on_host(
            box_mask, self.boxes[index], self._size, threshold=self._mask_threshold
        )

    def run_lengths(self, index: int) -> dict[str, Any]:
        """An object's mask as compressed run lengths, a `segmentation` in COCO's format.

        Raises:
            InputError: the network finds boxes alone.
        """
        box_mask = self._box_mask(index)
        part = paste_part(box_mask, self.boxes[index], self._size, threshold=self._mask_threshold)
        return {"size": list(self._size), "counts": encode_part(part, self._size).decode()}

    def picture(self, *, min_score: float = SHOWN_FROM, opacity: float = 0.5) -> Image.Image:
        """The image with boxes, masks, classes and scores of its objects.

        Classes and scores stand beside the boxes; they are left out where there are many objects,
        or no room that hides none.

        Args:
            min_score: of the objects that are drawn.
            opacity: of the masks' colours, from 0 to 1.

        Raises:
            InputError: one of them is no number from 0 to 1.
        """
        for name, value in (("min_score", min_score), ("opacity", opacity)):
            if not 0 <= value <= 1:
                raise InputError(f"{name} is {value}; expected a number from 0 to 1")
        objects = self._shown(self._size, min_score)
        return draw_objects(self.image, objects, opacity=opacity)

    def layer(self, size: tuple[int, int]) -> Layer:
        """The objects that `picture` draws, and where their masks are in a copy of the image.

        Args:
            size: height and width of the copy.
        """
        objects = self._shown(size, SHOWN_FROM)
        height, width = size
        rows = np.flatnonzero(self.scores >= SHOWN_FROM).tolist()
        parts = []
        for number, (row, each) in enumerate(zip(rows, objects, strict=True)):
            left, top, right, bottom = (each.box / (width, height, width, height)).tolist()
            name, score = self.names[self.labels[row]], float(self.scores[row])
            box = (left, top, right, bottom)
            parts.append(Part(name, score, object_color(number), number + 1, box))
        if not self.has_masks:
            return Layer(parts, "score")
        regions = np.zeros(size, np.uint16)
        for part, each in reversed(list(zip(parts, objects, strict=True))):  # the surest on top
            assert each.mask is not None
            regions[each.mask] = part.region
        return Layer(parts, "score", regions)

    def to_plain(self) -> list[dict[str, Any]]:
        """Class, score, box and mask of each object as plain JSON; see `run_lengths`."""
        return [
            {
                "class": self.names[label],
                "index": int(label),
                "score": float(score),
                "box": [float(x) for x in box],
                **({"mask": self.run_lengths(row)} if self.has_masks else {}),
            }
            for row, (box, score, label) in enumerate(
                zip(self.boxes, self.scores, self.labels, strict=True)
            )
        ]

    def arrays(self) -> dict[str, np.ndarray]:
        """Boxes, scores, labels, and what the network says of masks in their boxes, by name."""
        arrays = {"boxes": self.boxes, "scores": self.scores, "labels": self.labels}
        return arrays if self._box_masks is None else {**arrays, "box_masks": self._box_masks}

    def save(self, path: str | os.PathLike) -> None:
        """Writes class, score, box and mask of each object as JSON.

        Raises:
            InputError: the file cannot be written.
        """
        write_whole(as_path(path), json.dumps(self.to_plain(), indent=2) + "\n")

    def __repr__(self) -> str:
        height, width = self._size
        surest = ", ".join(
            f"{self.names[label]} {score:.2f}"
            for label, score in zip(self.labels[:3], self.scores[:3], strict=True)
        )
        more = ", ..." if len(self) > 3 else ""
        return f"DetectionResult({width}x{height}, {len(self)} objects: {surest}{more})"

    def _shown(self, size: tuple[int, int], min_score: float) -> list[ShownObject]:
        return shown_objects(
            FoundObjects(self.boxes, self.scores, self.labels, self._box_masks),
            self.names,
            self._size,
            size,
            min_score=min_score,
            mask_threshold=self._mask_threshold,
        )

    @property
    def _size(self) -> tuple[int, int]:
        return self.image.shape[0], self.image.shape[1]

    def _box_mask(self, index: int) -> Float[np.ndarray, "side side"]:
        if self._box_masks is None:
            raise InputError("the network finds boxes, and no masks")
        return self._box_masks[index]
