"""Pictures of what a network has found in an image."""

from collections.abc import Sequence

import numpy as np

from gcnet_jax.tasks.detection.evaluation.image_detections import FoundObjects, Size
from gcnet_jax.tasks.detection.pictures import ShownObject
from gcnet_jax.tasks.detection.regions.pasting_on_host import paste_on_host

MOST_NAMED = 25
"""Objects of a picture above which words would hide them."""
SHOWN_FROM = 0.3
"""Score from which objects are drawn, unless told otherwise."""


def shown_objects(
    found: FoundObjects,
    names: Sequence[str],
    size: Size,
    shown_size: Size,
    *,
    min_score: float = SHOWN_FROM,
    mask_threshold: float = 0.5,
) -> list[ShownObject]:
    """Returns what to draw into a copy of an image that may have another size.

    Masks are put straight into the copy: those of a large photograph would be megabytes each.

    Args:
        found: in the image.
        names: of all classes, by index; they are written where there are not too many objects.
        size: height and width of the image.
        shown_size: of the copy.
        min_score: of the objects that are drawn.
        mask_threshold: probability from which a pixel is an object's.
    """
    shown = np.flatnonzero(found.scores >= min_score).tolist()
    height, width = (shown / real for shown, real in zip(shown_size, size, strict=True))
    objects = []
    for index in shown:
        box = found.boxes[index] * np.array([width, height] * 2, np.float32)
        mask = None
        if found.box_masks is not None:
            mask = paste_on_host(found.box_masks[index], box, shown_size, threshold=mask_threshold)
        words = f"{names[found.classes[index]]} {found.scores[index]:.2f}"
        objects.append(ShownObject(box, words if len(shown) <= MOST_NAMED else "", mask))
    return objects
