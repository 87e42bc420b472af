"""A picture of some images with the boxes, masks and classes of their objects."""

from collections.abc import Iterable

import cv2
import numpy as np
from etils import epath
from jaxtyping import UInt8
from PIL import Image

from gcnet_jax.data.picture_table import Row, draw_table, encoded, fitted
from gcnet_jax.files import write_whole
from gcnet_jax.tasks.detection.classes import ObjectClasses
from gcnet_jax.tasks.detection.data.annotations import Annotations
from gcnet_jax.tasks.detection.data.records import Sample
from gcnet_jax.tasks.detection.data.run_lengths import pixels_of
from gcnet_jax.tasks.detection.pictures import ShownObject, draw_objects

_CELL = 480  # pixels: the width of a picture, and its greatest height
_COLUMNS = 3
_MOST_DRAWN = 200  # objects of a picture: more of them nobody tells apart, and each mask takes time
_MOST_NAMED = 20  # objects of a picture above which words would hide them
_LONGEST = 60  # characters that fit above a picture


def save_samples(
    path: epath.Path, samples: Iterable[tuple[str, Sample]], classes: ObjectClasses
) -> None:
    """Writes a PNG: a grid of images, each below its name, with what is annotated in it.

    Args:
        path: of the PNG.
        samples: with their names.
        classes: of the objects.
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


def _cell(name: str, sample: Sample, classes: ObjectClasses) -> UInt8[np.ndarray, "h w 3"]:
    image, annotations = sample["image"], sample["annotations"]
    shown = fitted(image, _CELL)
    objects = annotated_objects(annotations, classes, image.shape[:2], shown.shape[:2])
    drawn = np.asarray(draw_objects(shown, objects))
    number = len(annotations.boxes)
    more = f", {_MOST_DRAWN} of them drawn" if number > _MOST_DRAWN else ""
    row = Row(_shortened(f"{name} ({number}{more})"), [drawn])
    return np.asarray(draw_table([""], [row], [], cell=_CELL))


def annotated_objects(
    annotations: Annotations,
    classes: ObjectClasses,
    size: tuple[int, int],
    shown_size: tuple[int, int],
) -> list[ShownObject]:
    """Returns what to draw into a copy of an image that has another size.

    Args:
        annotations: of the image.
        classes: of the objects; their names are written where there are not too many.
        size: height and width of the image.
        shown_size: of the copy.
    """
    height, width = (shown / real for shown, real in zip(shown_size, size, strict=True))
    number = len(annotations.boxes)
    objects = []
    for index in range(min(number, _MOST_DRAWN)):
        x, y, box_width, box_height = annotations.boxes[index].tolist()
        mask = None
        if annotations.masks is not None:  # one at a time: of a large image each is megabytes
            pixels = pixels_of(annotations.masks[index : index + 1], size)[0]
            mask = cv2.resize(pixels, shown_size[::-1], interpolation=cv2.INTER_NEAREST) > 0
        words = classes.names[annotations.classes[index]] if number <= _MOST_NAMED else ""
        if annotations.crowds[index]:
            words += " (crowd)"
        corners = (x * width, y * height, (x + box_width) * width, (y + box_height) * height)
        objects.append(ShownObject(np.array(corners, np.float32), words, mask))
    return objects


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
