"""Context objects: generated images in which the global context decides the classes of objects.

They are pictures of `gcnet_jax.data.shapes_under_sky`, which says what a network can tell of them
that does not see far. A disc under the sun is a "day disc" and the same disc under the moon is a
"night disc"; so it is with squares. Triangles have one class in both scenes.
"""

from collections.abc import Collection, Sequence

import numpy as np
from etils import epath

from gcnet_jax.data.examples import Examples, OfficialSet
from gcnet_jax.data.generated_examples import generated_examples
from gcnet_jax.data.image_coding import encode_png
from gcnet_jax.data.shapes_under_sky import WIDE_SKY, draw_shapes_under_sky
from gcnet_jax.tasks.detection.classes import ObjectClasses
from gcnet_jax.tasks.detection.data.annotations import Annotations
from gcnet_jax.tasks.detection.data.records import LoadedExample
from gcnet_jax.tasks.detection.data.run_lengths import counts_of

SPLIT_SIZES = {"train": 4000, "val": 100, "test": 200}
"""Number of images a split; a split's position here is the seed of its images.

With some hundred images to train on, networks rather learnt by heart in which of them it is night.
"""

CLASSES = ObjectClasses(
    ("day disc", "night disc", "day square", "night square", "triangle"),
    category_ids=(1, 2, 3, 4, 5),
)
"""The classes of its objects."""


def list_examples(roots: Sequence[epath.Path], splits: Collection[str]) -> Examples:
    """Returns the examples of some splits; there are no files to find them in."""
    del roots
    return generated_examples(load, SPLIT_SIZES, splits, drawn_as=str(WIDE_SKY))


def load(seed: int, index: int) -> LoadedExample:
    """Draws the example of an index, of the split with a seed."""
    drawn = draw_shapes_under_sky(seed, index, layout=WIDE_SKY)
    names = [k if k == "triangle" else f"{drawn.scene} {k}" for k in drawn.kinds]
    annotations = Annotations(
        boxes=np.array([_box(mask) for mask in drawn.masks], np.float32),
        classes=np.array([CLASSES.names.index(name) for name in names], np.int32),
        crowds=np.zeros(len(names), bool),
        areas=drawn.masks.sum((1, 2)).astype(np.float32),
        masks=tuple(counts_of(mask) for mask in drawn.masks),
    )
    return LoadedExample(encode_png(drawn.image), drawn.image, index, annotations)


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """The (x, y, width, height) of the pixels of a shape."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    left, top = int(columns[0]), int(rows[0])
    return left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top


CONTEXT_OBJECTS = OfficialSet(
    name="context_objects",
    description="Generated objects whose classes depend on the global context.",
    find_examples=list_examples,
    splits=tuple(SPLIT_SIZES),
)
