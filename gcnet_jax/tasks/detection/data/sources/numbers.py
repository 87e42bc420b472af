"""What counts as a number in an annotation file."""

import math
from typing import Any, TypeGuard

MOST = 10_000_000
"""Largest number that is taken for pixels: of coordinates and lengths."""

_IDS = range(-(1 << 63), 1 << 63)


def is_id(value: Any) -> TypeGuard[int]:
    """Returns whether a value is a whole number that can be stored."""
    return type(value) is int and value in _IDS


def is_finite(value: Any) -> TypeGuard[int | float]:
    """Returns whether a value is a number, and neither NaN nor infinite."""
    return type(value) is int or (type(value) is float and math.isfinite(value))


def shown(value: Any) -> str:
    """Returns a value as a message quotes it."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
