"""What is detected in one image, in pixels of the image as it is stored."""

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32

from gcnet_jax.tasks.detection.regions.pasted_run_lengths import encode_part
from gcnet_jax.tasks.detection.regions.pasting_on_host import paste_part

Size = tuple[int, int]
"""Height and width in pixels."""


@dataclasses.dataclass(frozen=True, eq=False)
class ImageDetections:
    """What is detected in one image, the surest first.

    Attributes:
        index: of the image in its split.
        size: its height and width.
        boxes: (x1, y1, x2, y2) in pixels of the image.
        scores: from 0 to 1.
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


class NetworkOutput(NamedTuple):
    """The rows of one image in what a detector returns, see `gcnet_jax...detector.Detections`.

    Attributes:
        boxes: in pixels of the image as the network was given it.
        scores: from 0 to 1.
        classes: from 0.
        valid: which rows are there.
        masks: how sure each position of a box is the object, from 0 to 1; None without masks.
    """

    boxes: Float[np.ndarray, "n 4"]
    scores: Float[np.ndarray, " n"]
    classes: Int[np.ndarray, " n"]
    valid: Bool[np.ndarray, " n"]
    masks: Float[np.ndarray, "n side side"] | None


def detections_of(
    output: NetworkOutput, index: int, *, seen: Size, size: Size, mask_threshold: float
) -> ImageDetections:
    """Returns what a network has detected in one image.

    Args:
        output: of the network, without masks if they are not wanted.
        index: of the image in its split.
        seen: height and width that the image was resized to for the network.
        size: its own.
        mask_threshold: probability from which a pixel is an object's.
    """
    there = np.asarray(output.valid)
    boxes = in_pixels_of_image(np.asarray(output.boxes)[there], seen=seen, size=size)
    masks = None
    if output.masks is not None:
        masks = tuple(
            encode_part(paste_part(mask, box, size, threshold=mask_threshold), size)
            for mask, box in zip(np.asarray(output.masks)[there], boxes, strict=True)
        )
    return ImageDetections(
        index,
        size,
        boxes,
        np.asarray(output.scores)[there].astype(np.float32),
        np.asarray(output.classes)[there].astype(np.int32),
        masks,
    )


def in_pixels_of_image(
    boxes: Float[np.ndarray, "n 4"], *, seen: Size, size: Size
) -> Float32[np.ndarray, "n 4"]:
    """Returns boxes in an image that was resized from `size` to `seen` in pixels of `size`."""
    (height, width), (seen_height, seen_width) = size, seen
    enlarged = np.array([seen_width / width, seen_height / height] * 2, np.float32)
    return np.asarray(boxes, np.float32) / enlarged
