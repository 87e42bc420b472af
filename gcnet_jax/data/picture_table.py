"""A picture of rows of images, with what their colours stand for below.

Drawn with Pillow and OpenCV, in hundredths of a second: training draws one at each evaluation.
"""

import functools
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from gcnet_jax.errors import printable

RGB = UInt8[np.ndarray, "h w 3"]
Indices = UInt8[np.ndarray, "h w"]
Color = tuple[int, int, int]

_GAP, _LINE = 6, 20  # pixels between pictures, and of the height of a line of text
_LONGEST_NAME = 40  # characters in the legend


class Row(NamedTuple):
    """What stands side by side.

    Attributes:
        name: written above.
        cells: RGB images, all of one size.
    """

    name: str
    cells: Sequence[RGB]


def draw_table(
    columns: Sequence[str], rows: Sequence[Row], legend: Sequence[tuple[str, Color]], *, cell: int
) -> Image.Image:
    """Draws a picture with titles, rows and a legend.

    Args:
        columns: the title of each.
        rows: from top to bottom.
        legend: what to write beside a patch of each colour.
        cell: width of a column in pixels; no cell is larger, see `fitted`.
    """
    width = len(columns) * (cell + _GAP) + _GAP
    below = _legend(legend, width)
    height = sum(_LINE + row.cells[0].shape[0] + _GAP for row in rows) + _LINE + below.height
    canvas = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(canvas)
    lefts = [_GAP + i * (cell + _GAP) for i in range(len(columns))]
    for left, title in zip(lefts, columns, strict=True):
        draw.text((left, 2), title, "black", _font())
    top = _LINE
    for row in rows:
        draw.text((_GAP, top + 2), printable(row.name), "grey", _font())
        for left, pixels in zip(lefts, row.cells, strict=True):
            canvas.paste(Image.fromarray(pixels), (left, top + _LINE))
        top += _LINE + row.cells[0].shape[0] + _GAP
    canvas.paste(below, (_GAP, top))
    return canvas


def fitted(pixels: RGB | Indices, cell: int) -> RGB | Indices:
    """Returns an image as large as fits a square of `cell` pixels, in its own aspect.

    Values of a single channel are taken as they are, for they may be indices; RGB is averaged.
    """
    factor = cell / max(pixels.shape[:2])
    height, width = (max(1, round(length * factor)) for length in pixels.shape[:2])
    smooth = pixels.ndim == 3 and factor < 1
    interpolation = cv2.INTER_AREA if smooth else cv2.INTER_NEAREST
    return cv2.resize(pixels, (width, height), interpolation=interpolation)


def encoded(picture: Image.Image, kind: str) -> bytes:
    """Returns the bytes of an image file.

    Args:
        picture: to encode.
        kind: "PNG", or "JPEG" where a tenth of its bytes is worth more than sharp edges.
    """
    buffer = io.BytesIO()
    # To squeeze the noise of photographs further would take long.
    options = {"compress_level": 1} if kind == "PNG" else {"quality": 85}
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def _legend(entries: Sequence[tuple[str, Color]], width: int) -> Image.Image:
    """Returns a patch and a name for each entry, in columns."""
    entries = [(_shortened(printable(name)), color) for name, color in entries]
    column = 2 * _LINE + max((int(_font().getlength(name)) for name, _ in entries), default=0)
    columns = max(1, (width - _GAP) // column)
    lines = -(-len(entries) // columns)
    legend = Image.new("RGB", (width - _GAP, lines * _LINE + _GAP), "white")
    draw = ImageDraw.Draw(legend)
    for i, (name, color) in enumerate(entries):
        left, top = (i % columns) * column, (i // columns) * _LINE
        draw.rectangle((left, top + 3, left + _LINE - 6, top + _LINE - 3), color, "grey")
        draw.text((left + _LINE, top + 2), name, "black", _font())
    return legend


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


@functools.cache
def _font() -> ImageFont.FreeTypeFont:
    """Returns the font of Matplotlib, which has more alphabets than Pillow's."""
    import matplotlib  # here: it takes long, and whoever reads data or trains waits for it

    return ImageFont.truetype(
        Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), 13
    )
