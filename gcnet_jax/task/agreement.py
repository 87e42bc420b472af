"""How far what a program says of an image is from what it should say, and how far it may be."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

OfImage = Mapping[str, Shaped[np.ndarray, "..."]]
"""The results of a program for one image, by their names."""


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """How far two ways to compute the same may be apart.

    Attributes:
        deviation: of probabilities and scores, as they are; of logits, as a share of the largest,
            or of 1 if that is larger.
        pixels: of the edges of boxes.
        differing: the share of classes, or of objects, that may be others.
    """

    deviation: float
    pixels: float
    differing: float


class Difference(NamedTuple):
    """How far one result of an image is from what it should be.

    Attributes:
        result: what was compared.
        deviation: the largest of its numbers; None where there are classes alone.
        unit: of the deviation, for people.
        equal: the share of classes or objects that are the same; None where there are numbers
            alone.
        agrees: whether that is within the tolerance.
    """

    result: str
    deviation: float | None
    unit: str
    equal: float | None
    agrees: bool


Measure = Callable[[OfImage, OfImage, tuple[int, int], Tolerance], list[Difference]]
"""Compares the results that an image of some (height, width) should have with those that it has."""


def compare_classes(
    result: str,
    right: Shaped[np.ndarray, "*positions"],
    mine: Shaped[np.ndarray, "*positions"],
    tolerance: Tolerance,
) -> Difference:
    """Counts the classes that are the same."""
    equal = float((right == mine).mean()) if right.size else 1.0
    return Difference(result, None, "", equal, 1 - equal <= tolerance.differing)


def compare_numbers(
    result: str,
    right: Shaped[np.ndarray, "*any"],
    mine: Shaped[np.ndarray, "*any"],
    most: float,
    unit: str = "",
) -> Difference:
    """Takes the largest deviation of numbers, of which `most` is allowed."""
    deviation = _largest_deviation(right, mine)
    return Difference(result, deviation, unit, None, deviation <= most)


def compare_probabilities(
    result: str,
    right: Float[np.ndarray, "*positions classes"],
    mine: Float[np.ndarray, "*positions classes"],
    tolerance: Tolerance,
) -> Difference:
    """Takes the largest deviation of probabilities, and counts the positions of one class.

    A position is of one class where the likeliest is the same, or where the one of `mine` should be
    less likely by no more than the share `tolerance.deviation`: rounding decides between these.
    """
    likeliest, found = right.max(-1), _values_at(right, mine.argmax(-1))
    equal = float((found >= likeliest * (1 - tolerance.deviation)).mean())
    return _of_both(result, _largest_deviation(right, mine), "", equal, tolerance)


def compare_logits(
    result: str,
    right: Float[np.ndarray, "*positions classes"],
    mine: Float[np.ndarray, "*positions classes"],
    tolerance: Tolerance,
) -> Difference:
    """Takes the largest deviation of logits, and counts the positions of one class.

    The deviation is a share of the largest logit, or of 1 if that is larger. A position is of one
    class where the likeliest is the same, or where the one of `mine` should be less likely by no
    more than about the share `tolerance.deviation`, a difference of as much between two logits.
    """
    likeliest, found = right.max(-1), _values_at(right, mine.argmax(-1))
    equal = float((found >= likeliest - tolerance.deviation).mean())
    largest = max(1.0, float(np.abs(right).max(initial=0)))
    return _of_both(
        result, _largest_deviation(right, mine) / largest, "of the largest", equal, tolerance
    )


def _of_both(
    result: str, deviation: float, unit: str, equal: float, tolerance: Tolerance
) -> Difference:
    agrees = deviation <= tolerance.deviation and 1 - equal <= tolerance.differing
    return Difference(result, deviation, unit, equal, agrees)


def _largest_deviation(right: np.ndarray, mine: np.ndarray) -> float:
    """The largest difference, infinite where there is no number."""
    difference = np.abs(right.astype(np.float64) - mine)
    return float(np.nan_to_num(difference, nan=np.inf).max(initial=0))


def _values_at(values: np.ndarray, indices: np.ndarray) -> np.ndarray:
    return np.take_along_axis(values, indices[..., None], -1)[..., 0]
