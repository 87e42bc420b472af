"""Masks as pycocotools' compressed run lengths, and back."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pycocotools.mask
from jaxtyping import Bool, UInt8


def pixels_of(counts: Sequence[bytes], size: tuple[int, int]) -> UInt8[np.ndarray, "n h w"]:
    """Returns which pixels are those of each mask: 1 there, else 0.

    Args:
        counts: of each mask, compressed and of this size: what a prepared set holds is checked.
        size: height and width of the image.
    """
    if not counts:
        return np.zeros((0, *size), np.uint8)
    objects: Any = [{"size": list(size), "counts": each} for each in counts]
    stacked = pycocotools.mask.decode(objects)
    return np.moveaxis(stacked, -1, 0)


def counts_of(pixels: Bool[np.ndarray, "h w"] | UInt8[np.ndarray, "h w"]) -> bytes:
    """Returns the compressed run lengths of the pixels that are not 0."""
    encoded: Any = pycocotools.mask.encode(np.asfortranarray(pixels, np.uint8))
    return encoded["counts"]
