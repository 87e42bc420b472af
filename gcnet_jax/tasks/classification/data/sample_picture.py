"""A picture of some images with the names of their classes."""

from collections.abc import Iterable

import numpy as np
from etils import epath
from jaxtyping import UInt8
from PIL import Image

from gcnet_jax.data.picture_table import Row, draw_table, encoded, fitted
from gcnet_jax.files import write_whole
from gcnet_jax.tasks.classification.data.classes import ImageClasses
from gcnet_jax.tasks.classification.data.records import Sample

_CELL = 220  # pixels: the width of a picture, and its greatest height
_COLUMNS = 3
_LONGEST = 28  # characters that fit above a picture


def save_samples(
    path: epath.Path, samples: Iterable[tuple[str, Sample]], classes: ImageClasses
) -> None:
    """Writes a PNG: a grid of images, each below the name of its class and its own.

    Args:
        path: of the PNG.
        samples: with their names.
        classes: what their labels mean.
    """
    cells = [_cell(name, sample, classes) for name, sample in samples]
    height = max(cell.shape[0] for cell in cells)
    width = max(cell.shape[1] for cell in cells)
    columns = min(_COLUMNS, len(cells))
    grid = np.full((-(-len(cells) // columns) * height, columns * width, 3), 255, np.uint8)
    for number, cell in enumerate(cells):
        top, left = number // columns * height, number % columns * width
        grid[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
    write_whole(path, encoded(Image.fromarray(grid), "PNG"))


def _cell(name: str, sample: Sample, classes: ImageClasses) -> UInt8[np.ndarray, "h w 3"]:
    row = Row(_shortened(name), [fitted(sample["image"], _CELL)])
    title = _shortened(classes.names[sample["label"]])
    return np.asarray(draw_table([title], [row], [], cell=_CELL))


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
