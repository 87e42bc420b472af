"""Annotated images made up in memory, and a prepared set of them."""

import dataclasses
from pathlib import Path

import numpy as np

from gcnet_jax.data import encode_png, prepare_own
from gcnet_jax.tasks.detection.classes import ObjectClasses
from gcnet_jax.tasks.detection.data import (
    AnnotatedImages,
    Annotations,
    LoadedExample,
    counts_of,
)

CLASSES = ObjectClasses(("cat", "dog", "cow"), category_ids=(3, 7, 1))


def annotations_of_boxes(boxes, size, classes=None, crowds=None, areas=None, *, masks=True):
    """Annotations of boxes (x, y, w, h), whose masks are all of the box within the image."""
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    number = len(boxes)
    counts = []
    for x, y, w, h in boxes.astype(int).tolist():
        pixels = np.zeros(size, np.uint8)
        pixels[max(y, 0) : max(y + h, 0), max(x, 0) : max(x + w, 0)] = 1
        counts.append(counts_of(pixels))
    return Annotations(
        boxes,
        np.array(np.zeros(number) if classes is None else classes, np.int32),
        np.array(np.zeros(number) if crowds is None else crowds, bool),
        np.array(boxes[:, 2] * boxes[:, 3] if areas is None else areas, np.float32),
        tuple(counts) if masks else None,
    )


@dataclasses.dataclass(frozen=True)
class MadeUp:
    """An example that is in memory: an image of noise with annotations."""

    name: str
    image_id: int
    size: tuple[int, int]
    annotations: Annotations

    def fingerprint(self) -> str:
        return f"{self.name} {self.size}"

    def load(self) -> LoadedExample:
        rng = np.random.default_rng(self.image_id)
        image = rng.integers(0, 256, (*self.size, 3), np.uint8)
        return LoadedExample(encode_png(image), image, self.image_id, self.annotations)


def accept(counts, console):
    del counts, console


def prepare_made_up(name, data_dir, examples, *, has_masks=True, classes=CLASSES) -> Path:
    """Prepares examples by split as a data set."""
    record_format = AnnotatedImages("as_found", classes, has_masks)
    return prepare_own(name, data_dir, "Made up.", record_format, examples, accept, options="none")
