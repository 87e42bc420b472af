"""Context shapes: generated images in which the global context decides the labels.

They are pictures of `gcnet_jax.data.shapes_under_sky`, which says what a network can tell of them
that does not see far. A disc under the sun is a "day disc" and the same disc under the moon is a
"night disc"; so it is with squares. Triangles have one class in both scenes.
"""

from collections.abc import Collection, Sequence

import numpy as np
from etils import epath
from jaxtyping import UInt8

from gcnet_jax.data.examples import Examples, OfficialSet
from gcnet_jax.data.generated_examples import generated_examples
from gcnet_jax.data.image_coding import encode_png
from gcnet_jax.data.scenes import Scene
from gcnet_jax.data.shapes_under_sky import NARROW_SKY, draw_shapes_under_sky
from gcnet_jax.tasks.segmentation.data.catalog import CATALOG
from gcnet_jax.tasks.segmentation.data.records import LoadedExample

SPLIT_SIZES = {"train": 600, "val": 100, "test": 200}
"""Number of images a split; a split's position here is the seed of its images."""

_CLASS_INDEX = {name: i for i, name in enumerate(CATALOG["context_shapes"].names)}


def list_examples(roots: Sequence[epath.Path], splits: Collection[str]) -> Examples:
    """Returns the examples of some splits; there are no files to find them in."""
    del roots
    return generated_examples(load, SPLIT_SIZES, splits)


def load(seed: int, index: int) -> LoadedExample:
    """Draws the example of an index, of the split with a seed."""
    image, label = generate(seed, index)
    return LoadedExample(encode_png(image), image, label)


def generate(
    seed: int, index: int, scene: Scene | None = None
) -> tuple[UInt8[np.ndarray, "64 128 3"], UInt8[np.ndarray, "64 128"]]:
    """Generates one image and its label; equal arguments give equal arrays.

    Args:
        seed: which sequence of images; different seeds have no image in common.
        index: which image of that sequence.
        scene: "day" or "night" to force the scene. Nothing changes by it but the picture within the
          sky and the class indices of discs and squares. By default the scene is drawn.

    Returns:
        The RGB image, and the class index of each pixel.
    """
    drawn = draw_shapes_under_sky(seed, index, scene)
    label = np.zeros(NARROW_SKY.size, np.uint8)
    for kind, mask in zip(drawn.kinds, drawn.masks, strict=True):
        label[mask] = _CLASS_INDEX[kind if kind == "triangle" else f"{drawn.scene} {kind}"]
    label[drawn.sky] = _CLASS_INDEX["sky"]
    return drawn.image, label


CONTEXT_SHAPES = OfficialSet(
    name="context_shapes",
    description="Generated shapes whose classes depend on the global context.",
    find_examples=list_examples,
    splits=tuple(SPLIT_SIZES),
)
