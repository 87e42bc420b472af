"""What is annotated in an image, and which of it is trained on."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int32

from gcnet_jax.tasks.detection.data.run_lengths import has_pixels

_SMALLEST = 1  # pixels of an edge of a box that is trained on


class Annotations(NamedTuple):
    """All that is annotated in one image, in the order of the file that says it.

    Attributes:
        boxes: (x, y, width, height) in pixels, as annotated; they may reach out of the image.
        classes: indices in the class table.
        crowds: whether it is a group of objects, which is neither trained on nor to be found.
        areas: in pixels, as annotated.
        masks: the pixels of each, as the counts of pycocotools' compressed run lengths at the
            image's own size; None in sets of boxes alone.
    """

    boxes: Float32[np.ndarray, "n 4"]
    classes: Int32[np.ndarray, " n"]
    crowds: Bool[np.ndarray, " n"]
    areas: Float32[np.ndarray, " n"]
    masks: tuple[bytes, ...] | None


def trainable(annotations: Annotations, size: tuple[int, int]) -> Bool[np.ndarray, " n"]:
    """Returns which annotations are objects that are trained on.

    The others are crowds and what mmdetection's `CocoDataset.parse_data_info` leaves out.

    Args:
        annotations: of an image.
        size: its height and width.
    """
    usable = ~annotations.crowds
    for reason in reasons_against(annotations, size).values():
        usable &= ~reason
    return usable


def reasons_against(
    annotations: Annotations, size: tuple[int, int]
) -> dict[str, Bool[np.ndarray, " n"]]:
    """Returns which annotations cannot be trained on, by the reason, of which there may be several.

    Args:
        annotations: of an image.
        size: its height and width.
    """
    height, width = size
    x, y, box_width, box_height = annotations.boxes.T
    shared_width = np.minimum(x + box_width, width) - np.maximum(x, 0)
    shared_height = np.minimum(y + box_height, height) - np.maximum(y, 0)
    return {
        "outside the image": (shared_width <= 0) | (shared_height <= 0),
        "without area": annotations.areas <= 0,
        "narrower than a pixel": (box_width < _SMALLEST) | (box_height < _SMALLEST),
    }


def masks_without_pixels(annotations: Annotations, size: tuple[int, int]) -> Bool[np.ndarray, " n"]:
    """Returns which annotations have a mask in which no pixel is theirs.

    mmdetection trains on their boxes all the same, and masks learn of them that nothing is there.

    Args:
        annotations: of an image.
        size: its height and width.
    """
    if annotations.masks is None:
        return np.zeros(len(annotations.classes), bool)
    return np.array([not has_pixels(mask, size) for mask in annotations.masks], bool)
