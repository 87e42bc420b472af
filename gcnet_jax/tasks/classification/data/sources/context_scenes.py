"""Context scenes: generated images whose one class only the global context decides.

At one end of each image lie a light and a dark shape of different colours, at the other a strip of
sky. By day, with a sun, the class of the image is the colour of the light shape; by night, with a
moon, that of the dark one. No pixel of a shape is nearer than `CUE_DISTANCE` columns to the sky.

A network that looks at windows of no more columns, and averages what it has found in them, cannot
tell: exchanging the two colours has to reverse its decision by day and by night alike, and of what
it adds up for the shapes and for the sky no sum is right in more than three of those four cases. So
it is right in three of four images at best, and in one of two where it does not know the sky.

This holds by construction. Everything but the scene is drawn from one random stream, the scene from
another, and the scene is used for two things only: the picture within the sky's fixed outline, and
the class.
"""

from collections.abc import Collection, Sequence

import numpy as np
from etils import epath
from jaxtyping import UInt8

from gcnet_jax.data.examples import Examples, OfficialSet
from gcnet_jax.data.generated_examples import generated_examples
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
from gcnet_jax.tasks.classification.data.records import LoadedExample

SIZE = 64
"""Height and width of an image in pixels."""
CUE_ZONE = 10
"""Greatest width in pixels of the sky, which holds no shapes."""
CUE_DISTANCE = 35
"""Least horizontal distance in pixels between the sky and any shape."""

SPLIT_SIZES = {"train": 4000, "val": 400, "test": 400}
"""Number of images a split; a split's position here is the seed of its images."""

_RADII = (7, 10)  # in pixels, from and below, as the other ranges
_LIGHT, _DARK = (205, 250), (95, 135)  # how bright
_KINDS: tuple[Kind, ...] = ("disc", "square")  # which mean nothing here
_HUES: tuple[tuple[int, int], ...] = ((-4, 5), (26, 33), (52, 66), (138, 150))  # by class


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
) -> tuple[UInt8[np.ndarray, "64 64 3"], int]:
    """Generates one image and its class; equal arguments give an equal image.

    Args:
        seed: which sequence of images; different seeds have no image in common.
        index: which image of that sequence.
        scene: "day" or "night" to force the scene. Nothing changes by it but the picture within the
          sky and the class. By default the scene is drawn.

    Returns:
        The RGB image, and the index of its class.
    """
    layout_rng = np.random.default_rng([seed, index, 0])
    scene_rng = np.random.default_rng([seed, index, 1])
    scene = scene or SCENES[scene_rng.integers(2)]

    # The image is composed with the sky at the left, and mirrored in the end for half of them.
    image = draw_background(layout_rng, (SIZE, SIZE))
    shapes, colours = _arrange_shapes(layout_rng)
    for shape in shapes:
        mask = shape.mask((SIZE, SIZE))
        image[mask] = shape.surface((SIZE, SIZE))[mask]
    sky = Sky.draw(layout_rng, most=CUE_ZONE, height=SIZE, edge=8)
    image[:, : sky.width] = sky.picture(scene, SIZE, sun=2, moon=3)

    image += layout_rng.normal(0, 4, image.shape)
    image = np.clip(image, 0, 255).astype(np.uint8)
    if layout_rng.integers(2):
        image = np.ascontiguousarray(image[:, ::-1])
    return image, colours[0] if scene == "day" else colours[1]


def _arrange_shapes(rng: np.random.Generator) -> tuple[list[Shape], list[int]]:
    """Draws a light and a dark shape, one above the other at the far end.

    Returns:
        The shapes, and the index of the colour of each.
    """
    colours: list[int] = rng.permutation(len(_HUES))[:2].tolist()
    # The sky's last column is CUE_ZONE - 1 at most.
    first_column = CUE_ZONE - 1 + CUE_DISTANCE
    halves = [(0, SIZE // 2), (SIZE // 2, SIZE)]
    if rng.integers(2):
        halves.reverse()
    shapes = []
    for colour, value, (top, bottom) in zip(colours, (_LIGHT, _DARK), halves, strict=True):
        radius = int(rng.integers(*_RADII))
        shapes.append(
            Shape(
                kind=_KINDS[rng.integers(len(_KINDS))],
                x=int(rng.integers(first_column + radius, SIZE - radius)),
                y=int(rng.integers(top + radius + 1, bottom - radius)),
                radius=radius,
                angle=rng.uniform(0, 2 * np.pi),
                colour=draw_colour(rng, hue=_HUES[colour], saturation=(150, 230), value=value),
            )
        )
    return shapes, colours


CONTEXT_SCENES = OfficialSet(
    name="context_scenes",
    description="Generated images whose class depends on the global context.",
    find_examples=list_examples,
    splits=tuple(SPLIT_SIZES),
)
