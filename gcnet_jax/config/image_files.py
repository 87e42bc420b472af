"""Choices about image files and how they are stored, apart from the code that reads them."""

from typing import Literal, get_args

Pixels = Literal["as_found", "uncompressed"]
"""How prepared images and labels are stored."""
PIXELS: tuple[Pixels, ...] = get_args(Pixels)

Orientation = Literal["displayed", "stored"]
"""Whether masks were made on the images as they are displayed or as they are stored."""
ORIENTATIONS: tuple[Orientation, ...] = get_args(Orientation)

MAX_IMAGE_PIXELS = 1 << 28
"""Most pixels of an image unless told otherwise: 0.8 GB decoded, more than cameras take."""

MOST_IMAGE_PIXELS = 1 << 30
"""More cannot be decoded."""
