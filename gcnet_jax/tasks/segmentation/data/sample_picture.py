"""Pictures of images with their labels in colours, and the names of the classes below."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from etils import epath
from jaxtyping import UInt8
from PIL import Image

from gcnet_jax.data.picture_table import RGB, Row, draw_table, encoded, fitted
from gcnet_jax.files import write_whole
from gcnet_jax.tasks.segmentation.data.catalog import IGNORE_LABEL, DatasetClasses
from gcnet_jax.tasks.segmentation.data.pictures import IGNORED_COLOR, colorize, label_overlay
from gcnet_jax.tasks.segmentation.data.records import Sample

Label = UInt8[np.ndarray, "h w"]

_CELL = 400  # pixels: the width of a picture, and its greatest height
_COLUMNS = ("image", "mask", "mask over the image")


class LabelRow(NamedTuple):
    """What stands side by side.

    Attributes:
        name: written above.
        cells: RGB images as they are, and label maps, which get the colours of their classes and
            grey where they name none; all of one size.
    """

    name: str
    cells: Sequence[RGB | Label]


def draw_label_table(
    columns: Sequence[str], rows: Sequence[LabelRow], classes: DatasetClasses, *, cell: int
) -> Image.Image:
    """Draws a picture with titles, rows, and the names and colours of the labels that are seen.

    Args:
        columns: the title of each.
        rows: from top to bottom.
        classes: what labels mean.
        cell: width of a column in pixels; no cell is larger, see `gcnet_jax.data.fitted`.
    """
    seen = {
        int(value) if value < classes.num_classes else IGNORE_LABEL
        for row in rows
        for pixels in row.cells
        if pixels.ndim == 2
        for value in np.unique(pixels)
    }
    legend = [
        ("(ignored)", IGNORED_COLOR)
        if value == IGNORE_LABEL
        else (f"{value} {classes.names[value]}", classes.palette[value])
        for value in sorted(seen)
    ]
    coloured = [
        Row(
            row.name,
            [x if x.ndim == 3 else colorize(x, classes.palette) for x in row.cells],
        )
        for row in rows
    ]
    return draw_table(columns, coloured, legend, cell=cell)


def save_samples(
    path: epath.Path, samples: Iterable[tuple[str, Sample]], classes: DatasetClasses
) -> None:
    """Writes a PNG: one row a sample, with the image, the mask in colours, and one over the other.

    Args:
        path: of the PNG.
        samples: with their names.
        classes: whose colours the masks have; those that are seen are named below.
    """
    rows = []
    for name, sample in samples:
        image, label = fitted(sample["image"], _CELL), fitted(sample["label"], _CELL)
        rows.append(LabelRow(name, (image, label, label_overlay(image, label, classes.palette))))
    write_whole(path, encoded(draw_label_table(_COLUMNS, rows, classes, cell=_CELL), "PNG"))
