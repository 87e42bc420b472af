"""Generated pictures of shapes far from a strip of sky that shows whether it is day or night.

Discs and squares look alike in both scenes. No pixel of theirs is nearer than `CUE_DISTANCE`
columns to a pixel of the sky, so a network whose receptive field reaches less far cannot do better
than guess the scene of a disc, whatever its capacity. Triangles may lie anywhere but in the sky.

The guarantee holds by construction. Everything but the scene is drawn from one random stream, the
scene from another, and the scene is used for the picture within the sky's fixed outline alone.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8

from gcnet_jax.data.scenes import (
    SCENES,
    Kind,
    Scene,
    Shape,
    Sky,
    draw_background,
    draw_colour,
)

HEIGHT = 64
"""The height of each picture in pixels."""
CUE_DISTANCE = 48
"""Least horizontal distance in pixels between the sky and any disc or square."""
_SHAPES_ZONE = 56  # width in pixels of the far end, where discs and squares are


class Layout(NamedTuple):
    """How wide the sky is, and what stands in it; all in pixels.

    Attributes:
        cue_zone: greatest width of the sky, which holds no shapes.
        sun: radius of the sun, without its rays.
        moon: radius of the moon.
        edge: how many rows at the top and the bottom have neither sun nor moon in them.
    """

    cue_zone: int
    sun: int
    moon: int
    edge: int

    @property
    def size(self) -> tuple[int, int]:
        """The height and the width of the picture."""
        return HEIGHT, self.cue_zone + CUE_DISTANCE + _SHAPES_ZONE


NARROW_SKY = Layout(cue_zone=24, sun=5, moon=6, edge=12)
"""A fifth of a picture 128 pixels wide is sky."""
WIDE_SKY = Layout(cue_zone=56, sun=9, moon=10, edge=20)
"""A third of a picture 160 pixels wide is sky: easier to find for those who look for it."""


class ShapesUnderSky(NamedTuple):
    """A picture with all that is in it.

    Attributes:
        image: RGB.
        scene: day or night.
        kinds: of the shapes, no two of which touch.
        masks: the pixels of each shape.
        sky: the pixels of the sky.
    """

    image: UInt8[np.ndarray, "h w 3"]
    scene: Scene
    kinds: tuple[Kind, ...]
    masks: Bool[np.ndarray, "n h w"]
    sky: Bool[np.ndarray, "h w"]


def draw_shapes_under_sky(
    seed: int, index: int, scene: Scene | None = None, layout: Layout = NARROW_SKY
) -> ShapesUnderSky:
    """Draws one picture; equal arguments give equal arrays.

    Args:
        seed: which sequence of pictures; different seeds have none in common.
        index: which picture of that sequence.
        scene: "day" or "night" to force the scene, by which nothing changes but the picture within
            the sky. By default the scene is drawn.
        layout: how wide the sky is, and with it the picture.
    """
    layout_rng = np.random.default_rng([seed, index, 0])
    scene_rng = np.random.default_rng([seed, index, 1])
    scene = scene or SCENES[scene_rng.integers(2)]

    # The picture is composed with the sky at the left, and mirrored in the end for half of them.
    image = draw_background(layout_rng, layout.size)
    shapes = _arrange_shapes(layout_rng, layout)
    masks = np.stack([shape.mask(layout.size) for shape in shapes])
    for shape, mask in zip(shapes, masks, strict=True):
        image[mask] = shape.surface(layout.size)[mask]
    strip = Sky.draw(layout_rng, most=layout.cue_zone, height=HEIGHT, edge=layout.edge)
    image[:, : strip.width] = strip.picture(scene, HEIGHT, sun=layout.sun, moon=layout.moon)
    sky = np.zeros(layout.size, bool)
    sky[:, : strip.width] = True

    image += layout_rng.normal(0, 4, image.shape)
    image = np.clip(image, 0, 255).astype(np.uint8)
    if layout_rng.integers(2):
        image, masks, sky = image[:, ::-1], masks[..., ::-1], sky[:, ::-1]
    return ShapesUnderSky(
        np.ascontiguousarray(image), scene, tuple(shape.kind for shape in shapes), masks, sky
    )


def _arrange_shapes(rng: np.random.Generator, layout: Layout) -> list[Shape]:
    """Draws 2 or 3 discs and squares at the far end, and 1 or 2 triangles anywhere off the sky."""
    kinds: list[Kind] = []
    for _ in range(rng.integers(2, 4)):
        kinds.append("disc" if rng.integers(2) else "square")
    for _ in range(rng.integers(1, 3)):
        kinds.append("triangle")
    shapes: list[Shape] = []
    for kind in kinds:
        # The sky's last column is cue_zone - 1 at most; triangles keep a gap to it.
        after_sky = layout.cue_zone
        first_column = after_sky + 1 if kind == "triangle" else after_sky - 1 + CUE_DISTANCE
        # A crowded picture may have no room left: then it has one shape less.
        for _ in range(30):
            radius = int(rng.integers(8, 14))
            shape = Shape(
                kind=kind,
                x=int(rng.integers(first_column + radius, layout.size[1] - radius)),
                y=int(rng.integers(radius, HEIGHT - radius)),
                radius=radius,
                angle=rng.uniform(0, 2 * np.pi),
                colour=draw_colour(rng, saturation=(40, 190), value=(150, 235)),
            )
            if not any(shape.touches(other) for other in shapes):
                shapes.append(shape)
                break
    return shapes
