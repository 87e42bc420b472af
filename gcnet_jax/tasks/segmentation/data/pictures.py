"""Labels as pictures."""

import io
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

Palette = Sequence[tuple[int, int, int]]

IGNORED_COLOR = (200, 200, 200)
"""Colour of pixels without a class: black is what many palettes begin with."""


def colorize(label: UInt8[np.ndarray, "h w"], palette: Palette) -> UInt8[np.ndarray, "h w 3"]:
    """Returns each class in its RGB colour; what is outside the palette (ignored) in grey."""
    colors = np.full((256, 3), IGNORED_COLOR, np.uint8)
    colors[: len(palette)] = palette
    return colors[label]


def label_overlay(
    image: UInt8[np.ndarray, "h w 3"],
    label: UInt8[np.ndarray, "h w"],
    palette: Palette,
    *,
    opacity: float = 0.5,
) -> UInt8[np.ndarray, "h w 3"]:
    """Returns the class colours laid over an RGB image; ignored pixels show the image alone."""
    blended = cv2.addWeighted(image, 1 - opacity, colorize(label, palette), opacity, 0)
    return np.where((label < len(palette))[..., None], blended, image)


def encode_indexed(label: UInt8[np.ndarray, "h w"], palette: Palette) -> bytes:
    """Encodes class indices as a PNG with the palette in it, so that viewers show the colours."""
    image = Image.fromarray(label)
    colors = np.zeros((256, 3), np.uint8)  # with fewer, Pillow would keep fewer bits of a pixel
    colors[: len(palette)] = palette
    image.putpalette(colors.tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
