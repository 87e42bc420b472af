"""A picture of rows of images and label maps, with the colours of the classes named below.

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

from gcnet_jax.data.catalog import IGNORE_LABEL, DatasetClasses
from gcnet_jax.data.pictures import IGNORED_COLOR, colorize
from gcnet_jax.errors import printable

RGB = UInt8[np.ndarray, "h w 3"]
Label = UInt8[np.ndarray, "h w"]

_GAP, _LINE = 6, 20  # pixels between pictures, and of the height of a line of text
_LONGEST_NAME = 40  # characters of a class
"""Of pixels whose label names no class."""


class Row(NamedTuple):
    """What stands side by side.

    Attributes:
        name: written above.
        cells: RGB images as they are, and label maps, which get the colours of their classes and
            grey where they name none; all of one size.
    """

    name: str
    cells: Sequence[RGB | Label]


def draw_table(
    columns: Sequence[str], rows: Sequence[Row], classes: DatasetClasses, *, cell: int
) -> Image.Image:
    """Draws a picture with titles, rows, and the names and colours of the labels that are seen.

    Args:
        columns: the title of each.
        rows: from top to bottom.
        classes: what labels mean.
        cell: width of a column in pixels; no cell is larger, see `fitted`.
    """
    seen = {
        int(value) if value < classes.num_classes else IGNORE_LABEL
        for row in rows
        for pixels in row.cells
        if pixels.ndim == 2
        for value in np.unique(pixels)
    }
    width = len(columns) * (cell + _GAP) + _GAP
    legend = _legend(sorted(seen), classes, width)
    height = sum(_LINE + row.cells[0].shape[0] + _GAP for row in rows) + _LINE + legend.height
    canvas = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(canvas)
    lefts = [_GAP + i * (cell + _GAP) for i in range(len(columns))]
    for left, title in zip(lefts, columns, strict=True):
        draw.text((left, 2), title, "black", _font())
    top = _LINE
    for row in rows:
        draw.text((_GAP, top + 2), printable(row.name), "grey", _font())
        for left, pixels in zip(lefts, row.cells, strict=True):
            picture = pixels if pixels.ndim == 3 else colorize(pixels, classes.palette)
            canvas.paste(Image.fromarray(picture), (left, top + _LINE))
        top += _LINE + row.cells[0].shape[0] + _GAP
    canvas.paste(legend, (_GAP, top))
    return canvas


def fitted(pixels: RGB | Label, cell: int) -> RGB | Label:
    """An image or a label map as large as fits a square of `cell` pixels, in its own aspect."""
    factor = cell / max(pixels.shape[:2])
    height, width = (max(1, round(length * factor)) for length in pixels.shape[:2])
    smooth = pixels.ndim == 3 and factor < 1
    interpolation = cv2.INTER_AREA if smooth else cv2.INTER_NEAREST
    return cv2.resize(pixels, (width, height), interpolation=interpolation)


def encoded(picture: Image.Image, kind: str) -> bytes:
    """The bytes of an image file.

    Args:
        picture: to encode.
        kind: "PNG", or "JPEG" where a tenth of its bytes is worth more than sharp edges.
    """
    buffer = io.BytesIO()
    # To squeeze the noise of photographs further would take long.
    options = {"compress_level": 1} if kind == "PNG" else {"quality": 85}
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def _legend(seen: Sequence[int], classes: DatasetClasses, width: int) -> Image.Image:
    """A patch and a name for every label that is seen, in columns."""
    entries = [
        ("(ignored)", IGNORED_COLOR)
        if value == IGNORE_LABEL
        else (_shortened(printable(f"{value} {classes.names[value]}")), classes.palette[value])
        for value in seen
    ]
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
    """Matplotlib brings one with more alphabets than Pillow's."""
    import matplotlib  # here: it takes long, and whoever reads data or trains waits for it

    return ImageFont.truetype(
        Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), 13
    )
