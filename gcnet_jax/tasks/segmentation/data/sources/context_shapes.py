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
from typing import Literal, Self

import cv2
import numpy as np
from etils import epath
from jaxtyping import Bool, Float, UInt8

from gcnet_jax.data.examples import Examples, OfficialSet
from gcnet_jax.data.image_coding import encode_png
from gcnet_jax.tasks.segmentation.data.catalog import CATALOG
from gcnet_jax.tasks.segmentation.data.records import LoadedExample

Scene = Literal["day", "night"]
Kind = Literal["disc", "square", "triangle"]

SCENES: tuple[Scene, ...] = ("day", "night")
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
    image = _background(layout_rng)
    label = np.zeros((HEIGHT, WIDTH), np.uint8)
    for shape in _arrange_shapes(layout_rng):
        mask = shape.mask()
        image[mask] = shape.surface()[mask]
        label[mask] = _CLASS_INDEX[
            "triangle" if shape.kind == "triangle" else f"{scene} {shape.kind}"
        ]
    sky = _Sky.draw(layout_rng)
    image[:, : sky.width] = sky.picture(scene)
    label[:, : sky.width] = _CLASS_INDEX["sky"]

    image += layout_rng.normal(0, 4, image.shape)
    image = np.clip(image, 0, 255).astype(np.uint8)
    if layout_rng.integers(2):
        image, label = np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(label[:, ::-1])
    return image, label


@dataclasses.dataclass(frozen=True)
class _Shape:
    """A disc, or the square or triangle inscribed in it; lengths in pixels, angle in radians."""

    kind: Kind
    x: int
    y: int
    radius: int
    angle: float
    colour: Float[np.ndarray, "3"]

    def mask(self) -> Bool[np.ndarray, "64 128"]:
        canvas = np.zeros((HEIGHT, WIDTH), np.uint8)
        if self.kind == "disc":
            cv2.circle(canvas, (self.x, self.y), self.radius, 1, thickness=cv2.FILLED)
        else:
            corners = 4 if self.kind == "square" else 3
            angles = self.angle + np.arange(corners) * 2 * np.pi / corners
            polygon = (self.x, self.y) + self.radius * np.stack([np.cos(angles), np.sin(angles)], 1)
            cv2.fillPoly(canvas, [np.rint(polygon).astype(np.int32)], 1)
        return canvas.astype(bool)

    def surface(self) -> Float[np.ndarray, "64 128 3"]:
        """The shape's colour, a little lighter at its top than at its bottom."""
        shade = 1 + 0.18 * (self.y - np.arange(HEIGHT)) / self.radius
        return np.broadcast_to(shade[:, None, None] * self.colour, (HEIGHT, WIDTH, 3))

    def touches(self, other: Self) -> bool:
        gap = 2
        distance = np.hypot(self.x - other.x, self.y - other.y)
        return bool(distance <= self.radius + other.radius + gap)


def _arrange_shapes(rng: np.random.Generator) -> list[_Shape]:
    """Draws 2 or 3 discs and squares at the far end, and 1 or 2 triangles anywhere off the sky."""
    kinds: list[Kind] = []
    for _ in range(rng.integers(2, 4)):
        kinds.append("disc" if rng.integers(2) else "square")
    for _ in range(rng.integers(1, 3)):
        kinds.append("triangle")
    shapes: list[_Shape] = []
    for kind in kinds:
        # The sky's last column is CUE_ZONE - 1 at most; triangles keep a gap to it.
        first_column = CUE_ZONE + 1 if kind == "triangle" else CUE_ZONE - 1 + CUE_DISTANCE
        # A crowded image may have no room left: then it has one shape less.
        for _ in range(30):
            radius = int(rng.integers(8, 14))
            shape = _Shape(
                kind=kind,
                x=int(rng.integers(first_column + radius, WIDTH - radius)),
                y=int(rng.integers(radius, HEIGHT - radius)),
                radius=radius,
                angle=rng.uniform(0, 2 * np.pi),
                colour=_colour(rng, saturation=(40, 190), value=(150, 235)),
            )
            if not any(shape.touches(other) for other in shapes):
                shapes.append(shape)
                break
    return shapes


@dataclasses.dataclass(frozen=True)
class _Sky:
    """The strip that shows the scene; its outline and where its sun or moon stands are no cue."""

    width: int
    x: int
    y: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Self:
        width = int(rng.integers(CUE_ZONE - 4, CUE_ZONE + 1))
        return cls(width=width, x=width // 2, y=int(rng.integers(12, HEIGHT - 12)))

    def picture(self, scene: Scene) -> Float[np.ndarray, "64 width 3"]:
        """The sky, drawn large and reduced for smooth edges."""
        factor = 8
        height, width, centre = HEIGHT * factor, self.width * factor, (self.x, self.y)
        if scene == "day":
            large = _gradient(height, width, (74, 156, 232), (158, 210, 246))
            _draw_sun(large, factor * np.array(centre), 5 * factor)
        else:
            large = _gradient(height, width, (14, 18, 52), (44, 46, 96))
            _draw_moon(large, factor * np.array(centre), 6 * factor)
        return cv2.resize(large, (self.width, HEIGHT), interpolation=cv2.INTER_AREA)


def _draw_sun(picture: Float[np.ndarray, "h w 3"], centre: np.ndarray, radius: int) -> None:
    yellow = (255, 214, 64)
    for angle in np.arange(8) * np.pi / 4:
        direction = np.array([np.cos(angle), np.sin(angle)])
        start, end = (np.rint(centre + radius * r * direction).astype(int) for r in (1.35, 1.8))
        cv2.line(picture, tuple(start.tolist()), tuple(end.tolist()), yellow, radius // 4)
    cv2.circle(picture, tuple(centre.tolist()), radius, yellow, cv2.FILLED)


def _draw_moon(picture: Float[np.ndarray, "h w 3"], centre: np.ndarray, radius: int) -> None:
    shadow = picture.copy()
    cv2.circle(picture, tuple(centre.tolist()), radius, (240, 236, 208), cv2.FILLED)
    bite = np.zeros(picture.shape[:2], np.uint8)
    offset = np.rint(centre + radius * np.array([0.45, -0.2])).astype(int)
    cv2.circle(bite, tuple(offset.tolist()), int(0.8 * radius), 1, cv2.FILLED)
    picture[bite > 0] = shadow[bite > 0]


def _gradient(
    height: int, width: int, top: tuple[int, int, int], bottom: tuple[int, int, int]
) -> Float[np.ndarray, "h w 3"]:
    rows = np.linspace(np.array(top, float), np.array(bottom, float), height)
    return np.ascontiguousarray(np.broadcast_to(rows[:, None], (height, width, 3)))


def _background(rng: np.random.Generator) -> Float[np.ndarray, "64 128 3"]:
    """A gradient between two muted colours, with soft clouds over it."""
    first, second = (_colour(rng, saturation=(30, 110), value=(45, 120)) for _ in range(2))
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.meshgrid(
        np.linspace(-0.5, 0.5, HEIGHT), np.linspace(-0.5, 0.5, WIDTH), indexing="ij"
    )
    weight = 0.5 + 0.7 * (np.cos(angle) * columns + np.sin(angle) * rows)
    clouds = cv2.resize(rng.normal(0, 7, (4, 8)), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return first + weight[..., None] * (second - first) + clouds[..., None]


def _colour(
    rng: np.random.Generator, saturation: tuple[int, int], value: tuple[int, int]
) -> Float[np.ndarray, "3"]:
    """Draws an RGB colour of any hue, with saturation and value in the given ranges of 0..255."""
    hsv = np.array([[[rng.integers(180), rng.integers(*saturation), rng.integers(*value)]]])
    return cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB)[0, 0].astype(np.float64)


CONTEXT_SHAPES = OfficialSet(
    name="context_shapes",
    description="Generated shapes whose classes depend on the global context.",
    find_examples=list_examples,
    splits=tuple(SPLIT_SIZES),
)
