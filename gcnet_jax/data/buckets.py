"""Few array shapes for images of many sizes."""

import numpy as np
from jaxtyping import Int

_MOST_SHAPES = 256
"""Most shapes to compare with each other: the time grows with the third power."""


def group_into_buckets(
    sizes: Int[np.ndarray, "n arrays 2"], max_buckets: int
) -> list[Int[np.ndarray, " members"]]:
    """Groups images such that arrays as large as the largest of a group are padded little.

    Starts from a group for each size (rounded up, if there are hundreds of them) and joins, again
    and again, the two groups whose joining adds the least padding, until there are few enough.

    Args:
        sizes: (height, width) of each image, and of whatever else is padded along with it.
        max_buckets: most groups to make, at least one.

    Returns:
        The indices of the images in each group, in ascending order; groups of large images first,
        so that what does not fit into memory fails at once.
    """
    shapes, group = _few_shapes(sizes.astype(np.int64))
    members = [np.flatnonzero(group == i) for i in range(len(shapes))]
    while len(members) > max_buckets:
        counts, area = np.array([len(m) for m in members]), _area(shapes)
        joined = _area(np.maximum(shapes[:, None], shapes))
        padding = (joined - area[:, None]) * counts[:, None] + (joined - area) * counts
        np.fill_diagonal(padding, np.iinfo(np.int64).max)
        first, second = sorted(np.unravel_index(np.argmin(padding), padding.shape))
        shapes[first] = np.maximum(shapes[first], shapes[second])
        shapes = np.delete(shapes, second, axis=0)
        members[first] = np.sort(np.concatenate([members[first], members.pop(second)]))
    return [members[i] for i in np.argsort(-_area(shapes), kind="stable")]


def _few_shapes(
    sizes: Int[np.ndarray, "n arrays 2"],
) -> tuple[Int[np.ndarray, "groups arrays 2"], Int[np.ndarray, " n"]]:
    """Returns shapes to start from, and which each image has: sizes, rounded up if many differ."""
    step = 1
    while True:
        shapes, group = np.unique(-(-sizes // step) * step, axis=0, return_inverse=True)
        if len(shapes) <= _MOST_SHAPES:
            return shapes, group.ravel()
        step *= 2


def _area(shapes: Int[np.ndarray, "*groups arrays 2"]) -> Int[np.ndarray, "*groups"]:
    return shapes.prod(-1).sum(-1)
