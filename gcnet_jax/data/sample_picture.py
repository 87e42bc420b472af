"""A picture of some images of a data set with their masks, for a look before any training."""

import functools
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from etils import epath
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from gcnet_jax.data.catalog import IGNORE_LABEL, DatasetClasses
from gcnet_jax.data.pictures import colorize, label_overlay
from gcnet_jax.data.records import Sample
from gcnet_jax.errors import printable
from gcnet_jax.files import write_whole

_Image = UInt8[np.ndarray, "h w 3"]
_Label = UInt8[np.ndarray, "h w"]

_CELL = 400  # width of a picture, and its greatest height; all lengths are in pixels
_GAP, _LINE = 6, 20  # between pictures; height of a line of text
_LONGEST_NAME = 40  # characters of a class
_IGNORED = (200, 200, 200)  # the colour of ignored pixels in masks
_COLUMNS = ("image", "mask", "mask over the image")


def save_samples(
    path: epath.Path, samples: Iterable[tuple[str, Sample]], classes: DatasetClasses
) -> None:
    """Writes a PNG: one row a sample, with the image, the mask in colours, and one over the other.

    Args:
        path: of the PNG.
        samples: with their names.
        classes: whose colours the masks have; those that are seen are named below.
    """
    fitted = [(name, *_fitted(sample["image"], sample["label"])) for name, sample in samples]
    legend = _legend(sorted({int(v) for *_, label in fitted for v in np.unique(label)}), classes)
    height = sum(_LINE + label.shape[0] + _GAP for *_, label in fitted) + _LINE + legend.height
    canvas = Image.new("RGB", (len(_COLUMNS) * (_CELL + _GAP) + _GAP, height), "white")
    draw = ImageDraw.Draw(canvas)
    lefts = [_GAP + i * (_CELL + _GAP) for i in range(len(_COLUMNS))]
    for left, title in zip(lefts, _COLUMNS, strict=True):
        draw.text((left, 2), title, "black", _font())
    top = _LINE
    for name, image, label in fitted:
        draw.text((_GAP, top + 2), printable(name), "grey", _font())
        for left, picture in zip(lefts, _pictures(image, label, classes), strict=True):
            canvas.paste(Image.fromarray(picture), (left, top + _LINE))
        top += _LINE + label.shape[0] + _GAP
    canvas.paste(legend, (_GAP, top))
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG", compress_level=1)  # noise would take long
    write_whole(path, buffer.getvalue())


def _pictures(image: _Image, label: _Label, classes: DatasetClasses) -> tuple[_Image, ...]:
    mask = colorize(label, classes.palette)
    mask[label == IGNORE_LABEL] = _IGNORED
    return image, mask, label_overlay(image, label, classes.palette)


def _fitted(image: _Image, label: _Label) -> tuple[_Image, _Label]:
    """Both as large as fits a cell."""
    factor = _CELL / max(label.shape)
    height, width = (max(1, round(length * factor)) for length in label.shape)
    interpolation = cv2.INTER_AREA if factor < 1 else cv2.INTER_NEAREST
    return (
        cv2.resize(image, (width, height), interpolation=interpolation),
        cv2.resize(label, (width, height), interpolation=cv2.INTER_NEAREST),
    )


def _legend(seen: Sequence[int], classes: DatasetClasses) -> Image.Image:
    """A patch and a name for every label that is seen, in columns."""
    entries = [
        ("(ignored)", _IGNORED)
        if value == IGNORE_LABEL
        else (_shortened(printable(f"{value} {classes.names[value]}")), classes.palette[value])
        for value in seen
    ]
    width = len(_COLUMNS) * (_CELL + _GAP)
    column = 2 * _LINE + max(int(_font().getlength(name)) for name, _ in entries)
    columns = max(1, width // column)
    lines = -(-len(entries) // columns)
    legend = Image.new("RGB", (width, lines * _LINE + _GAP), "white")
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
    return ImageFont.truetype(
        Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), 13
    )
