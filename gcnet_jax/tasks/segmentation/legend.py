"""The legend below a picture: which colour stands for which class."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

_BACKGROUND, _TEXT, _EDGE = (255, 255, 255), (30, 30, 30), (150, 150, 150)
_SMALLEST, _LARGEST = 11, 64  # pixels of the letters
_IN_WIDTH = 45  # letters' heights in the width of a picture
_GAP = 0.5  # of a letter's height, between what stands side by side


class LegendEntry(NamedTuple):
    """One line of a legend: a text, and the RGB colour before it."""

    text: str
    color: tuple[int, int, int]


def with_legend(picture: Image.Image, entries: Sequence[LegendEntry]) -> Image.Image:
    """Puts a legend below an RGB picture.

    Args:
        picture: stays as it is, at the top left of the result.
        entries: in the order to show; as many stand in a row as there is room for.

    Returns:
        A new picture; wider than the first where that is too narrow for the longest entry.
    """
    height = min(max(picture.width // _IN_WIDTH, _SMALLEST), _LARGEST)
    font = ImageFont.truetype(_font_file(), height)
    gap = round(_GAP * height)
    widths = [height + gap + round(font.getlength(entry.text)) for entry in entries]
    total = max([picture.width, *(width + 2 * gap for width in widths)])
    places, x, y = [], gap, gap
    for width in widths:
        if x > gap and x + width + gap > total:
            x, y = gap, y + height + gap
        places.append((x, y))
        x += width + 2 * gap
    below = y + height + gap if entries else 0
    canvas = Image.new("RGB", (total, picture.height + below), _BACKGROUND)
    canvas.paste(picture, (0, 0))
    draw = ImageDraw.Draw(canvas)
    for entry, (x, y) in zip(entries, places, strict=True):
        top = picture.height + y
        box = (x, top, x + height - 1, top + height - 1)
        draw.rectangle(box, fill=entry.color, outline=_EDGE)
        draw.text(
            (x + height + gap, top + height // 2), entry.text, fill=_TEXT, font=font, anchor="lm"
        )
    return canvas


def _font_file() -> Path:
    """DejaVu Sans, which comes with matplotlib; Pillow's own font has no letters but Latin ones."""
    import matplotlib  # which takes half a second, and not every prediction has a legend

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
