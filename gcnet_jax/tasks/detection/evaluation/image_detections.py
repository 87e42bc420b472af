"""What is detected in one image, in pixels of the image as it is stored."""

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int32

from gcnet_jax.tasks.detection.detector import Detections
from gcnet_jax.tasks.detection.regions.pasted_run_lengths import encode_part
from gcnet_jax.tasks.detection.regions.pasting_on_host import paste_part

Size = tuple[int, int]
"""Height and width in pixels."""


class FoundObjects(NamedTuple):
    """The objects that a network has found in one image, the surest first.

    Attributes:
        boxes: (x1, y1, x2, y2) in pixels of the image.
        scores: from 0 to 1.
        classes: indices in the class table.
        box_masks: how sure each position of a box is the object, from 0 to 1; None without masks.
    """

    boxes: Float32[np.ndarray, "n 4"]
    scores: Float32[np.ndarray, " n"]
    classes: Int32[np.ndarray, " n"]
    box_masks: Float[np.ndarray, "n side side"] | None

    @classmethod
    def of(cls, detections: Detections, row: int, *, seen: Size, size: Size) -> "FoundObjects":
        """Returns what a network has found in an image of a batch.

        Args:
            detections: in the batch, as arrays of NumPy.
            row: of the image in the batch.
            seen: height and width that the image was resized to for the network.
            size: its own.
        """
        boxes, scores, classes, valid = (np.asarray(x[row]) for x in detections[:4])
        masks = detections.masks
        enlarged = np.array([seen[1] / size[1], seen[0] / size[0]] * 2, np.float32)
        return cls(
            boxes[valid].astype(np.float32) / enlarged,
            scores[valid].astype(np.float32),
            classes[valid].astype(np.int32),
            None if masks is None else np.asarray(masks[row])[valid],
        )


@dataclasses.dataclass(frozen=True, eq=False)
class ImageDetections:
    """What is detected in one image, as it is compared with what is annotated.

    Attributes:
        index: of the image in its split.
        size: its height and width.
        boxes: (x1, y1, x2, y2) in pixels of the image.
        scores: from 0 to 1, the largest first.
        classes: indices in the class table.
        masks: the pixels of each, as the counts of pycocotools' compressed run lengths at the
            image's own size; None where there are boxes alone.
    """

    index: int
    size: Size
    boxes: Float32[np.ndarray, "n 4"]
    scores: Float32[np.ndarray, " n"]
    classes: Int32[np.ndarray, " n"]
    masks: tuple[bytes, ...] | None

    @classmethod
    def of(
        cls, found: FoundObjects, index: int, *, size: Size, mask_threshold: float
    ) -> "ImageDetections":
        """Returns what was found in an image, with masks at the image's own size.

        Args:
            found: in the image.
            index: of it in its split.
            size: its height and width.
            mask_threshold: probability from which a pixel is an object's.
        """
        masks = None
        if found.box_masks is not None:
            masks = tuple(
                encode_part(paste_part(mask, box, size, threshold=mask_threshold), size)
                for mask, box in zip(found.box_masks, found.boxes, strict=True)
            )
        return cls(index, size, found.boxes, found.scores, found.classes, masks)
