"""The training transforms of mmdetection 3.3.0 on single images and what is annotated in them.

Images are uint8 RGB, which `gcnet_jax.data.resize_image` resizes. Masks go from run lengths at the
size of the image as it is stored to packed bits at its new size, through no more pixels than an
object has around it.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import pycocotools.mask
from jaxtyping import Float32, Int, UInt8

from gcnet_jax.data import nearest_pixels
from gcnet_jax.tasks.detection.data.run_lengths import columns_of
from gcnet_jax.tasks.detection.objects import row_bytes

Boxes = Float32[np.ndarray, "n 4"]
Size = tuple[int, int]
"""Height and width in pixels."""


def resize_boxes(boxes: Boxes, old_size: Size, new_size: Size) -> Boxes:
    """Returns boxes as corners in a resized image, cut to it.

    Args:
        boxes: (x, y, width, height) in the image.
        old_size: the image's.
        new_size: of the resized image.

    Returns:
        (x1, y1, x2, y2) in pixels of the resized image.
    """
    height, width = new_size
    factors = np.array([width / old_size[1], height / old_size[0]] * 2, np.float32)
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1) * factors
    return np.clip(corners, 0, np.array([width, height] * 2, np.float32))


def flip_boxes(boxes: Boxes, width: int) -> Boxes:
    """Returns the corners of boxes in an image of that width mirrored left and right."""
    left, top, right, bottom = boxes.T
    return np.stack([width - right, top, width - left, bottom], axis=1)


def resize_masks(
    masks: Sequence[bytes], old_size: Size, new_size: Size, *, flip: bool = False
) -> UInt8[np.ndarray, "n h w_bytes"]:
    """Returns which pixels are those of each mask in a resized image: the nearest decide.

    Args:
        masks: counts of compressed run lengths.
        old_size: of the masks.
        new_size: of the resized image.
        flip: whether to mirror them left and right.

    Returns:
        Bits, the rows packed by `numpy.packbits`.
    """
    rows, columns = (nearest_pixels(*lengths) for lengths in zip(old_size, new_size, strict=True))
    if flip:
        columns = columns[::-1]
    packed = np.zeros((len(masks), new_size[0], row_bytes(new_size[1])), np.uint8)
    for counts, result in zip(masks, packed, strict=True):
        x, y, width, height = _extent(counts, old_size)
        down = np.flatnonzero((y <= rows) & (rows < y + height))
        across = np.flatnonzero((x <= columns) & (columns < x + width))
        if not down.size or not across.size:  # of which no pixel is the nearest
            continue
        left, right = across[0] // 8 * 8, across[-1] + 1  # from the first pixel of a byte
        taken, of_rows = np.unique(rows[down], return_inverse=True)
        part = _packed(counts, old_size, taken, columns[left:right])[of_rows]
        result[down[0] : down[-1] + 1, left // 8 : left // 8 + part.shape[1]] = part
    return packed


def _packed(
    counts: bytes,
    size: Size,
    rows: Int[np.ndarray, " rows"],
    columns: Int[np.ndarray, " columns"],
) -> UInt8[np.ndarray, "rows columns_in_bytes"]:
    """The bits of some pixels of a mask, the rows packed."""
    first = columns.min()
    pixels = columns_of(counts, size, first, columns.max() + 1 - first)
    if rows[-1] - rows[0] + 1 == len(rows):  # all of a range, which need not be copied
        pixels = pixels[:, rows[0] : rows[-1] + 1]
    else:
        pixels = pixels[:, rows]
    # Columns lie in a row, rows do not: they are gathered before they change places.
    taken: Any = cv2.transpose(pixels[columns - first])
    return np.packbits(taken, axis=1)


def _extent(counts: bytes, size: Size) -> tuple[int, int, int, int]:
    """The smallest box around a mask: x, y, width and height."""
    box = pycocotools.mask.toBbox({"size": list(size), "counts": counts})
    x, y, width, height = (int(length) for length in box)
    return x, y, width, height
