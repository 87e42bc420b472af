"""Boxes handled one by one in NumPy's float32, as slowly and as plainly as it goes."""

import numpy as np


def drawn(generator, count, *, whole=True, extent=12):
    """Boxes within a square, where whole numbers make equal overlaps and empty boxes frequent."""
    corners = generator.uniform(0, extent, (count, 2, 2))
    corners = np.sort(corners.round() if whole else corners, axis=1)
    return corners.reshape(count, 4).astype(np.float32)


def with_rubbish(generator, boxes, valid):
    """The boxes with what padding may hold where they aren't valid."""
    rubbish = generator.choice([np.nan, np.inf, -np.inf, 1e38, -7.0], boxes.shape)
    return np.where(valid[:, None], boxes, rubbish).astype(np.float32)


def area(box):
    return (box[2] - box[0]) * (box[3] - box[1])


def intersection(box, other):
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    return max(width, np.float32(0)) * max(height, np.float32(0))


def union(box, other):
    return area(box) + area(other) - intersection(box, other)


def overlap(box, other):
    return intersection(box, other) / max(union(box, other), np.float32(1e-6))


def share(box, other):
    return intersection(box, other) / max(area(box), np.float32(1e-6))


def suppressed(boxes, scores, threshold):
    """The indices of the boxes that remain, by falling score."""
    kept = []
    for i in np.argsort(-scores, kind="stable"):
        threshold = np.float32(threshold)
        if not any(
            intersection(boxes[j], boxes[i]) > threshold * union(boxes[j], boxes[i]) for j in kept
        ):
            kept.append(int(i))
    return kept


def moved_apart(boxes, groups):
    """Boxes beside each other by group, as mmcv's `batched_nms` moves them."""
    return boxes + (groups.astype(np.float32) * (boxes.max() + np.float32(1)))[:, None]
