"""Segmentations of COCO's format, polygons and run lengths, as pycocotools' compressed run lengths.

What is none is refused here: pycocotools reads beyond its memory where run lengths do not add up,
and takes four numbers for a box.
"""

from typing import Any

import numpy as np
import pycocotools.mask

from gcnet_jax.tasks.detection.data.run_lengths import lengths_of

_LEAST_COORDINATES = 6
_FARTHEST = 1_000_000  # pixels of a coordinate: as long as an edge of an image can be
_CRUDE, _LONGEST = 2e6, 5e7  # pixels of outline, of which pycocotools keeps several steps each

Problem = str
"""What is wrong with a segmentation, in words, with what was expected."""


def counts_of_segmentation(
    segmentation: Any, size: tuple[int, int], *, skip_short: bool = False
) -> bytes | Problem:
    """Returns the pixels of a segmentation as the counts of compressed run lengths.

    Polygons are filled and joined as pycocotools' `annToRLE` and mmdetection's `_poly2mask` do.

    Args:
        segmentation: whatever JSON has there: a list of polygons, or `size` and `counts`.
        size: height and width of the image.
        skip_short: whether lists of too few coordinates are passed over where others are left, as
            mmdetection does.
    """
    if isinstance(segmentation, dict):
        return _counts_of_run_lengths(segmentation, size)
    if not isinstance(segmentation, list) or not segmentation:
        return (
            f"is {str(segmentation)[:40]!r}, expected a list of polygons, or the size and counts "
            "of run lengths"
        )
    if skip_short:
        long = [one for one in segmentation if not _is_short(one)]
        segmentation = long or segmentation
    polygons = []
    for number, coordinates in enumerate(segmentation):
        polygon = _polygon(coordinates)
        if isinstance(polygon, Problem):
            return f"has a polygon, at position {number}, that {polygon}"
        polygons.append(polygon)
    height, width = size
    rings: Any = pycocotools.mask.frPyObjects(polygons, height, width)
    merged: Any = pycocotools.mask.merge(rings) if len(rings) > 1 else rings[0]
    return merged["counts"]


def _is_short(coordinates: Any) -> bool:
    return isinstance(coordinates, list) and len(coordinates) < _LEAST_COORDINATES


def _polygon(coordinates: Any) -> np.ndarray | Problem:
    expected = f"expected x and y in turn, {_LEAST_COORDINATES} numbers at least"
    if not isinstance(coordinates, list):
        return f"is {str(coordinates)[:40]!r}, {expected}"
    if len(coordinates) < _LEAST_COORDINATES or len(coordinates) % 2:
        return f"has {len(coordinates)} numbers, {expected}"
    if not set(map(type, coordinates)) <= {int, float}:
        return f"holds something else than numbers, {expected}"
    try:
        polygon = np.array(coordinates, np.float64)
    except OverflowError:
        return f"holds a number that is too large, expected at most {_FARTHEST:,}"
    farthest = np.abs(polygon).max()
    if not farthest <= _FARTHEST:  # also where one is no number
        return f"holds {farthest}, expected numbers up to {_FARTHEST:,}"
    if farthest * len(polygon) > _CRUDE:
        corners = polygon.reshape(-1, 2)
        outline = np.abs(corners - np.roll(corners, 1, 0)).max(1).sum()
        if outline > _LONGEST:
            return f"has an outline of {outline:,.0f} pixels, expected at most {_LONGEST:,.0f}"
    return polygon


def _counts_of_run_lengths(lengths: dict[str, Any], size: tuple[int, int]) -> bytes | Problem:
    height, width = size
    stated = lengths.get("size")
    if not isinstance(stated, list) or stated != [height, width]:
        return (
            f"has the size {str(stated)[:40]}, expected [{height}, {width}], height and width of "
            "the image"
        )
    counts = lengths.get("counts")
    if isinstance(counts, str):
        return _checked_compressed(counts, height * width)
    if not isinstance(counts, list):
        return f"has counts that are {str(counts)[:40]!r}, expected a list of numbers or a text"
    if not set(map(type, counts)) <= {int, float} or not all(
        0 <= count <= height * width and count == int(count) for count in counts
    ):
        return "has counts that are no whole numbers from 0 to the number of pixels"
    if sum(counts) != height * width:
        return f"has counts that add up to {sum(counts)}, expected {height * width} pixels"
    whole: Any = {"size": [height, width], "counts": [int(count) for count in counts]}
    encoded: Any = pycocotools.mask.frPyObjects(whole, height, width)
    return encoded["counts"]


def _checked_compressed(text: str, pixels: int) -> bytes | Problem:
    expected = "expected pycocotools' compressed run lengths"
    try:
        counts = text.encode("ascii")
    except UnicodeEncodeError:
        return f"has counts with letters that are not ASCII, {expected}"
    lengths = lengths_of(counts)
    if lengths is None:
        return f"has counts that cannot be read, {expected}"
    if lengths.min(initial=0) < 0 or lengths.sum() != pixels:
        return f"has counts that add up to {lengths.sum()}, expected {pixels} pixels"
    return counts
