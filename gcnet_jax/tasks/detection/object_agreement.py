"""Whether two ways to run a detector find the same objects in an image, in whatever order."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from pycocotools import mask as coco_masks
from scipy.optimize import linear_sum_assignment

from gcnet_jax.task import Difference, Measure, OfImage, Tolerance, compare_numbers

_OVERLAP = 0.5  # of boxes of one object, at least


def measure_objects(score_threshold: float) -> Measure:
    """Returns what compares the objects that are found in an image.

    Objects are the same if they have one class and their boxes overlap by half; of these the edges
    of boxes, scores and masks are compared. An object that only one side has counts as another,
    unless its score is so near to where the other side stops that rounding decides.

    Args:
        score_threshold: that scores of objects exceed.
    """

    def measure(
        right: OfImage, mine: OfImage, size: tuple[int, int], tolerance: Tolerance
    ) -> list[Difference]:
        del size
        right_cut, mine_cut = (
            tolerance.deviation + _cut(found, score_threshold) for found in (right, mine)
        )
        right, mine = _valid(right), _valid(mine)
        rows, columns = _same_objects(right, mine, tolerance)
        others = sum(
            int((np.delete(found["scores"], matched) > cut).sum())
            for found, matched, cut in ((right, rows, mine_cut), (mine, columns, right_cut))
        )
        found = 2 * len(rows) + others
        equal = 1 - others / found if found else 1.0
        most = {"boxes": tolerance.pixels}
        return [
            Difference("objects", None, "", equal, 1 - equal <= tolerance.differing),
            *(
                compare_numbers(
                    name,
                    right[name][rows],
                    mine[name][columns],
                    most.get(name, tolerance.deviation),
                    "pixels" if name in most else "",
                )
                for name in ("boxes", "scores", "masks")
                if name in right
            ),
        ]

    return measure


def _valid(found: OfImage) -> OfImage:
    return {name: x[found["valid"]] for name, x in found.items() if name != "valid"}


def _cut(found: OfImage, score_threshold: float) -> float:
    """The score above which all objects are there: the lowest where no more have room."""
    valid: Bool[np.ndarray, " objects"] = found["valid"]
    return float(found["scores"].min(initial=1)) if valid.all() else score_threshold


def _same_objects(
    right: OfImage, mine: OfImage, tolerance: Tolerance
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """The rows of objects that both sides have, in pairs of which as many as can be are near."""
    apart = np.abs(right["boxes"][:, None] - mine["boxes"]).max(-1)
    near = np.maximum(_overlaps(right["boxes"], mine["boxes"]), apart <= tolerance.pixels)
    near *= (right["classes"][:, None] == mine["classes"]) & (near >= _OVERLAP)
    # Of boxes on one place those of one score belong together.
    alike = 1 - np.abs(right["scores"][:, None] - mine["scores"])
    weights = near * (1 + np.nan_to_num(alike))
    rows, columns = linear_sum_assignment(weights, maximize=True)
    there = near[rows, columns] > 0
    return rows[there], columns[there]


def _overlaps(
    right: Float[np.ndarray, "n 4"], mine: Float[np.ndarray, "m 4"]
) -> Float[np.ndarray, "n m"]:
    """Intersections over unions of boxes; 0 of those that are none."""
    if not len(right) or not len(mine):
        return np.zeros((len(right), len(mine)))
    of_right, of_mine = (_by_lengths(x) for x in (right, mine))
    return np.nan_to_num(np.asarray(coco_masks.iou(of_right, of_mine, [0] * len(mine))))


def _by_lengths(boxes: Float[np.ndarray, "n 4"]) -> Any:
    """Boxes (x1, y1, x2, y2) as (x, y, width, height)."""
    corners = boxes.astype(np.float64)
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
