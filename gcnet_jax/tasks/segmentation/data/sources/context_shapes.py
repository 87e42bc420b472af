"""Context shapes: generated images in which the global context decides the labels.

A strip at one end of each image shows the sky, by day with a sun or by night with a moon. Discs and
squares lie towards the other end and look alike in both scenes, but a disc under the sun is a "day
disc" and the same disc under the moon is a "night disc". No pixel of theirs is nearer than
`CUE_DISTANCE` columns to a pixel of the sky, so a network whose receptive field reaches less far
cannot do better than guess the scene, whatever its capacity. Triangles have one class in both
scenes and may lie anywhere but in the sky.

The guarantee holds by construction. Everything but the scene is drawn from one random stream, the
scene from another, and the scene is used for two things only: the picture within the sky's
fixed outline, and the class indices of discs and squares.
"""

import dataclasses
from collections.abc import Collection, Sequence

import numpy as np
from etils import epath
from jaxtyping import UInt8

from gcnet_jax.data.examples import Examples, OfficialSet
from gcnet_jax.data.image_coding import encode_png
from gcnet_jax.data.scenes import (
    SCENES,
    Kind,
    Scene,
    Shape,
    Sky,
    draw_background,
    draw_colour,
)
from gcnet_jax.tasks.segmentation.data.catalog import CATALOG
from gcnet_jax.tasks.segmentation.data.records import LoadedExample

HEIGHT, WIDTH = 64, 128
CUE_ZONE = 24
"""Greatest width in pixels of the sky, which holds no shapes."""
CUE_DISTANCE = 48
"""Least horizontal distance in pixels between the sky and any disc or square."""

SPLIT_SIZES = {"train": 600, "val": 100, "test": 200}
"""Number of images a split; a split's position here is the seed of its images."""

_CLASS_INDEX = {name: i for i, name in enumerate(CATALOG["context_shapes"].names)}


@dataclasses.dataclass(frozen=True)
class GeneratedExample:
    """An example that is drawn rather than read."""

    split: str
    seed: int
    index: int

    @property
    def name(self) -> str:
        """The name of the example."""
        return f"{self.split}_{self.index:04d}"

    def fingerprint(self) -> str:
        """What determines the example."""
        return f"{self.name} {self.seed}"

    def load(self) -> LoadedExample:
        """Draws the example."""
        image, label = generate(self.seed, self.index)
        return LoadedExample(encode_png(image), image, label)


def list_examples(roots: Sequence[epath.Path], splits: Collection[str]) -> Examples:
    """Returns the examples of some splits; there are no files to find them in."""
    del roots
    return {
        split: [GeneratedExample(split, seed, index) for index in range(size)]
        for seed, (split, size) in enumerate(SPLIT_SIZES.items())
        if split in splits
    }


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
    layout_rng = np.random.default_rng([seed, index, 0])
    scene_rng = np.random.default_rng([seed, index, 1])
    scene = scene or SCENES[scene_rng.integers(2)]

    # The image is composed with the sky at the left, and mirrored in the end for half of them.
    image = draw_background(layout_rng, (HEIGHT, WIDTH))
    label = np.zeros((HEIGHT, WIDTH), np.uint8)
    for shape in _arrange_shapes(layout_rng):
        mask = shape.mask((HEIGHT, WIDTH))
        image[mask] = shape.surface((HEIGHT, WIDTH))[mask]
        label[mask] = _CLASS_INDEX[
            "triangle" if shape.kind == "triangle" else f"{scene} {shape.kind}"
        ]
    sky = Sky.draw(layout_rng, most=CUE_ZONE, height=HEIGHT, edge=12)
    image[:, : sky.width] = sky.picture(scene, HEIGHT, sun=5, moon=6)
    label[:, : sky.width] = _CLASS_INDEX["sky"]

    image += layout_rng.normal(0, 4, image.shape)
    image = np.clip(image, 0, 255).astype(np.uint8)
    if layout_rng.integers(2):
        image, label = np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(label[:, ::-1])
    return image, label


def _arrange_shapes(rng: np.random.Generator) -> list[Shape]:
    """Draws 2 or 3 discs and squares at the far end, and 1 or 2 triangles anywhere off the sky."""
    kinds: list[Kind] = []
    for _ in range(rng.integers(2, 4)):
        kinds.append("disc" if rng.integers(2) else "square")
    for _ in range(rng.integers(1, 3)):
        kinds.append("triangle")
    shapes: list[Shape] = []
    for kind in kinds:
        # The sky's last column is CUE_ZONE - 1 at most; triangles keep a gap to it.
        first_column = CUE_ZONE + 1 if kind == "triangle" else CUE_ZONE - 1 + CUE_DISTANCE
        # A crowded image may have no room left: then it has one shape less.
        for _ in range(30):
            radius = int(rng.integers(8, 14))
            shape = Shape(
                kind=kind,
                x=int(rng.integers(first_column + radius, WIDTH - radius)),
                y=int(rng.integers(radius, HEIGHT - radius)),
                radius=radius,
                angle=rng.uniform(0, 2 * np.pi),
                colour=draw_colour(rng, saturation=(40, 190), value=(150, 235)),
            )
            if not any(shape.touches(other) for other in shapes):
                shapes.append(shape)
                break
    return shapes


CONTEXT_SHAPES = OfficialSet(
    name="context_shapes",
    description="Generated shapes whose classes depend on the global context.",
    find_examples=list_examples,
    splits=tuple(SPLIT_SIZES),
)
