"""RoIAlign in NumPy, as the reference describes it: slow and short."""

import numpy as np


def features_of_box(maps, box, image, level, sizes, bins, ratio, stride):
    """The features of one box, one sample after the other, in double precision."""
    features = np.asarray(maps[level][image], np.float64)
    height, width = sizes[level][image]
    x1, y1, x2, y2 = np.asarray(box, np.float64) / stride - 0.5
    down, right = (y2 - y1) / bins, (x2 - x1) / bins
    ny, nx = (ratio or max(int(np.ceil(size)), 0) for size in (down, right))
    result = np.zeros((bins, bins, features.shape[-1]))
    for i, j, k, m in np.ndindex(bins, bins, ny, nx):
        y, x = y1 + (i + (k + 0.5) / ny) * down, x1 + (j + (m + 0.5) / nx) * right
        if not (-1 <= y <= height and -1 <= x <= width):
            continue
        y, x = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
        top, left = int(y), int(x)
        for row in {top, min(top + 1, height - 1)}:
            for column in {left, min(left + 1, width - 1)}:
                share = (1 - abs(y - row)) * (1 - abs(x - column))
                result[i, j] += share * features[row, column]
    return result / max(ny * nx, 1)
