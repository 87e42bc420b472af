"""Where words stand beside boxes, so that they hide as little as may be of what they name."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float

_MOST_HIDDEN = 0.15  # of the area of any box

Rectangle = tuple[float, float, float, float]
"""(x1, y1, x2, y2) in pixels."""


def label_places(
    boxes: Sequence[Float[np.ndarray, "4"]],
    labels: Sequence[tuple[float, float] | None],
    size: tuple[int, int],
) -> list[Rectangle | None]:
    """Finds a place for the label of each box: above it, below, beside it, or in its corner.

    Args:
        boxes: (x1, y1, x2, y2) in pixels; the first choose first.
        labels: width and height of each label; None where there is none.
        size: height and width of the picture.

    Returns:
        For each box the place of its label, within the picture and beside the other labels. None
        where there is none left that would not hide a good part of some box.
    """
    height, width = size
    edges = np.clip(np.array(boxes, np.float32).reshape(-1, 4), 0, [width, height] * 2)
    taken: list[Rectangle] = []
    places: list[Rectangle | None] = []
    for box, label in zip(edges, labels, strict=True):
        free = (
            place
            for place in (_candidates(box, label, size) if label is not None else ())
            if _hidden(place, edges).max() <= _MOST_HIDDEN
            and not (taken and _shared(place, np.array(taken)).any())
        )
        place = next(free, None)
        places.append(place)
        if place is not None:
            taken.append(place)
    return places


def _candidates(
    box: Float[np.ndarray, "4"], label: tuple[float, float], size: tuple[int, int]
) -> Iterator[Rectangle]:
    """Yields the places of a label that lie within the picture, the best first."""
    (left, top, right, bottom), (width, height) = box.tolist(), label
    corners = (
        (left, top - height),
        (left, bottom),
        (right - width, top - height),
        (right - width, bottom),
        (right, top),
        (left - width, top),
        (right, bottom - height),
        (left - width, bottom - height),
        (left, top),
    )
    for x, y in corners:
        # Along a box that ends near the edge it is moved; away from the box there has to be room.
        if x == left or x == right - width:
            x = min(max(x, 0), size[1] - width)
        else:
            y = min(max(y, 0), size[0] - height)
        if 0 <= x <= size[1] - width and 0 <= y <= size[0] - height:
            yield x, y, x + width, y + height


def _shared(place: Rectangle, others: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, " n"]:
    """The area that a place has in common with each of some others."""
    first = np.maximum(others[:, :2], place[:2])
    last = np.minimum(others[:, 2:], place[2:])
    return np.prod(np.maximum(last - first, 0), axis=1)


def _hidden(place: Rectangle, boxes: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, " n"]:
    """The part of each box that a place hides."""
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return _shared(place, boxes) / np.maximum(areas, 1)
