"""Masks as pycocotools' compressed run lengths, and back."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pycocotools.mask
from jaxtyping import Bool, Int64, UInt8


def pixels_of(counts: Sequence[bytes], size: tuple[int, int]) -> UInt8[np.ndarray, "n h w"]:
    """Returns which pixels are those of each mask: 1 there, else 0.

    Args:
        counts: of each mask, compressed and of this size: what a prepared set holds is checked.
        size: height and width of the image.
    """
    # pycocotools' own `decode` takes longer, and NumPy 2 warns of it.
    height, width = size
    pixels = np.zeros((len(counts), width, height), np.uint8)
    for columns, each in zip(pixels, counts, strict=True):
        columns[:] = columns_of(each, size, 0, width)
    return pixels.transpose(0, 2, 1)


def has_pixels(counts: bytes, size: tuple[int, int]) -> bool:
    """Returns whether a mask has any pixel.

    Args:
        counts: its compressed run lengths.
        size: height and width of the image.
    """
    whole: Any = {"size": list(size), "counts": counts}
    return bool(pycocotools.mask.area(whole) > 0)


def counts_of(pixels: Bool[np.ndarray, "h w"] | UInt8[np.ndarray, "h w"]) -> bytes:
    """Returns the compressed run lengths of the pixels that are not 0."""
    encoded: Any = pycocotools.mask.encode(np.asfortranarray(pixels, np.uint8))
    return encoded["counts"]


def columns_of(
    counts: bytes, size: tuple[int, int], first: int, number: int
) -> UInt8[np.ndarray, "number h"]:
    """Returns which pixels of some columns are a mask's: 1 there, else 0.

    Run lengths are by columns, so that no others are looked at.

    Args:
        counts: as of `pixels_of`.
        size: height and width of the image.
        first: the first column.
        number: how many; all of them lie in the image.
    """
    height, _ = size
    lengths = lengths_of(counts)
    assert lengths is not None  # what a prepared set holds is checked
    begin, end = first * height, (first + number) * height
    within = np.diff(np.clip(np.cumsum(lengths), begin, end), prepend=begin)
    colours = (np.arange(len(lengths)) % 2).astype(np.uint8)  # the first run is of the background
    return np.repeat(colours, within).reshape(number, height)


def lengths_of(counts: bytes) -> Int64[np.ndarray, " n"] | None:
    """Returns the run lengths of compressed counts; None if they are none.

    Six bits a letter, from "0": five of the number, the lowest first, and one that says that more
    follow; the last one's highest bit is the sign. From the fourth on each is the difference to the
    last but one, see `rleToString` in pycocotools' maskApi.c.
    """
    letters = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    if not len(letters) or letters.min() < 0 or letters.max() > 63 or letters[-1] & 32:
        return None
    last = np.flatnonzero((letters & 32) == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    if (last - first).max() > 6:  # 35 bits are more than any image's pixels take
        return None
    place = np.arange(len(letters)) - np.repeat(first, last - first + 1)
    lengths = np.add.reduceat((letters & 31) << (5 * place), first)
    negative = (letters[last] & 16) > 0
    lengths -= negative.astype(np.int64) << (5 * (last - first + 1))
    lengths[1::2] = np.cumsum(lengths[1::2])
    lengths[2::2] = np.cumsum(lengths[2::2])
    return lengths
