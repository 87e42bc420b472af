"""Batches of random images with objects, as training has them."""

import numpy as np

from tests.tasks.detection.narrow_detector import CLASSES


def random_batch(seed=0, *, images=8, shape=(64, 64), capacity=8):
    """Images of several sizes in arrays of one, with none to `capacity` objects each."""
    rng = np.random.default_rng(seed)
    height, width = shape
    sizes = np.array([rng.integers(edge - 31, edge + 1, images) for edge in shape], np.int32).T
    inside = np.mgrid[:height, :width].transpose(1, 2, 0) < sizes[:, None, None]
    boxes = np.zeros((images, capacity, 4), np.float32)
    masks = np.zeros((images, capacity, height, width), bool)
    valid = np.arange(capacity) < np.arange(images)[:, None] * capacity // max(images - 1, 1)
    for row, column in zip(*np.nonzero(valid), strict=True):
        bottom, right = sizes[row]
        top, left = rng.integers(0, bottom - 10), rng.integers(0, right - 10)
        high, wide = rng.integers(8, 28, 2)
        box = left, top, min(left + wide, right), min(top + high, bottom)
        boxes[row, column] = box
        masks[row, column, box[1] : box[3], box[0] : box[2]] = True
    pixels = rng.integers(0, 256, (images, *shape, 3)) * inside.all(-1)[..., None]
    return {
        "image": pixels.astype(np.uint8),
        "size": sizes,
        "boxes": boxes,
        "classes": (rng.integers(0, CLASSES, (images, capacity)) * valid).astype(np.int32),
        "valid": valid,
        "masks": np.packbits(masks, axis=-1),
    }
