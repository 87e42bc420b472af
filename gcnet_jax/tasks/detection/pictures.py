"""Pictures of objects: their masks in colour, boxes around them, and words at the boxes."""

import colorsys
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from gcnet_jax.tasks.detection.label_places import label_places

_SMALLEST, _LARGEST = 10, 48  # pixels of the letters
_IN_DIAGONAL = 72  # letters' heights in the diagonal of a picture
_DARK = 120  # luma of colours, from 0 to 255, on which words are white
_GOLDEN = 0.6180339887  # part of the colour circle between one object and the next


class ShownObject(NamedTuple):
    """An object to draw.

    Attributes:
        box: (x1, y1, x2, y2) in pixels.
        words: written at the box, if any.
        mask: its pixels; None draws the box alone.
    """

    box: Float[np.ndarray, "4"]
    words: str
    mask: Bool[np.ndarray, "h w"] | None = None


def draw_objects(
    image: UInt8[np.ndarray, "h w 3"], objects: Sequence[ShownObject], *, opacity: float = 0.5
) -> Image.Image:
    """Draws objects into a copy of an image, the first of them on top.

    Words that would hide objects are left out, see `label_places`.

    Args:
        image: RGB.
        objects: each gets a colour of its own.
        opacity: of the masks' colours, from 0 to 1.
    """
    blended = image.astype(np.float32)
    colors = [object_color(index) for index in range(len(objects))]
    for each, color in reversed(list(zip(objects, colors, strict=True))):
        if each.mask is not None:
            blended[each.mask] += opacity * (np.array(color, np.float32) - blended[each.mask])
    picture = Image.fromarray(blended.round().astype(np.uint8))
    height = min(max(round(math.hypot(*picture.size) / _IN_DIAGONAL), _SMALLEST), _LARGEST)
    line = max(height // 7, 1)
    font = ImageFont.truetype(_font_file(), height)
    draw = ImageDraw.Draw(picture)
    drawn = list(zip(objects, colors, strict=True))[::-1]
    for each, color in drawn:
        left, top, right, bottom = each.box.tolist()
        last = max(left, right - 1), max(top, bottom - 1)  # the pixels that the box ends with
        draw.rectangle((left, top, *last), outline=color, width=line)
    labels = [
        (math.ceil(font.getlength(each.words) + 0.6 * height), math.ceil(1.4 * height))
        if each.words
        else None
        for each in objects
    ]
    places = label_places([each.box for each in objects], labels, (picture.height, picture.width))
    for each, color, place in zip(objects, colors, places, strict=True):  # no box hides words
        if place is None:
            continue
        left, top, right, bottom = place
        draw.rectangle((left, top, right - 1, bottom - 1), fill=color)
        draw.text(
            (left + 0.3 * height, (top + bottom - 1) / 2),
            each.words,
            fill=_readable_on(color),
            font=font,
            anchor="lm",
        )
    return picture


def object_color(index: int) -> tuple[int, int, int]:
    """A bright RGB colour, far from those of the objects before."""
    red, green, blue = colorsys.hls_to_rgb((0.03 + index * _GOLDEN) % 1, 0.6, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)


def _readable_on(color: tuple[int, int, int]) -> tuple[int, int, int]:
    """Black or white, whichever stands out more."""
    red, green, blue = color
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > _DARK else (255, 255, 255)


def _font_file() -> Path:
    """DejaVu Sans, which comes with matplotlib and has the letters of many languages."""
    import matplotlib  # here: whoever reads data or trains would wait for it

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
