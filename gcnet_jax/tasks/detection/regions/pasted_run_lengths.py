"""Pasted masks as pycocotools' compressed lengths of runs, without the image around them."""

from typing import Any

import numpy as np
from pycocotools import mask as coco_masks

from gcnet_jax.tasks.detection.regions.pasting_on_host import PastedPart


def encode_part(part: PastedPart, size: tuple[int, int]) -> bytes:
    """Returns what `pycocotools.mask.encode` says of an image that is false beyond a rectangle.

    It takes as long as the rectangle is large, not the image.

    Args:
        part: the rectangle, inside the image.
        size: (height, width) of the image.

    Returns:
        The compressed lengths of runs, column by column: `counts` of a COCO segmentation.
    """
    height, width = size
    columns, rows = part.pixels.shape
    # A false pixel above and below, so that each run begins and ends within its column.
    bordered = np.zeros((columns, rows + 2), bool)
    bordered[:, 1:-1] = part.pixels
    line = bordered.ravel()
    column, row = np.divmod(np.flatnonzero(line[1:] != line[:-1]), rows + 2)
    bounds = (part.left + column) * height + part.top + row
    if rows == height and len(bounds):  # a run may go on in the next column
        goes_on = bounds[1:-1:2] == bounds[2::2]
        bounds = np.concatenate(
            [bounds[:1], bounds[1:-1].reshape(-1, 2)[~goes_on].ravel(), bounds[-1:]]
        )
    counts = np.diff(bounds, prepend=0, append=height * width)
    if counts[-1] == 0:
        counts = counts[:-1]
    of_mask: Any = {"counts": counts, "size": [height, width]}
    compressed: Any = coco_masks.frPyObjects(of_mask, height, width)
    return compressed["counts"]
