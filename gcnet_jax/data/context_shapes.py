"""Context shapes: generated images in which the global context decides the labels.

One end of each image holds a beacon that shows a sun or a moon. Discs and squares lie towards the
other end and look alike in both scenes, but a disc under the sun is a "day disc" and the same disc
under the moon is a "night disc". No pixel of theirs is nearer than ``CUE_DISTANCE`` columns to a
pixel of the beacon, so a network whose receptive field reaches less far cannot do better than
guess the scene, whatever its capacity. Triangles have one class in both scenes and may lie
anywhere but at the beacon's end.

The guarantee holds by construction. Everything but the scene is drawn from one random stream, the
scene from another, and the scene is used for two things only: the picture within the beacon's
fixed outline, and the class indices of discs and squares.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal, Self

import cv2
import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Bool, Float, UInt8

from gcnet_jax.data.catalog import dataset_classes
from gcnet_jax.data.records import dataset_info, encode_png, encoded_record, show_progress

Scene = Literal["day", "night"]
Kind = Literal["disc", "square", "triangle"]

SCENES: tuple[Scene, ...] = ("day", "night")
HEIGHT, WIDTH = 96, 192
CUE_ZONE = 24
"""Width in pixels of the strip at one end that holds the beacon and nothing else."""
CUE_DISTANCE = 80
"""Least horizontal distance in pixels between the beacon and any disc or square."""

SPLIT_SIZES = {"train": 600, "val": 100, "test": 200}
"""Number of images a split; a split's position here is the seed of its images."""

_CLASS_INDEX = {name: i for i, name in enumerate(dataset_classes("context_shapes").names)}


class ContextShapes(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """TFDS builder for context shapes."""

    name = "context_shapes"
    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return dataset_info(self, "Generated shapes whose classes depend on the global context.")

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        del dl_manager  # nothing is downloaded
        return {
            split: self._generate_examples(seed, size, split)
            for seed, (split, size) in enumerate(SPLIT_SIZES.items())
        }

    def _generate_examples(
        self, seed: int, size: int, split: str
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for index in show_progress(range(size), split):
            image, label = generate(seed, index)
            yield index, encoded_record(f"{split}_{index:04d}", encode_png(image), label)


def generate(
    seed: int, index: int, scene: Scene | None = None
) -> tuple[UInt8[np.ndarray, "96 192 3"], UInt8[np.ndarray, "96 192"]]:
    """Generates one image and its label; equal arguments give equal arrays.

    Args:
      seed: which sequence of images; different seeds have no image in common.
      index: which image of that sequence.
      scene: "day" or "night" to force the scene. Nothing changes by it but the picture within the
        beacon and the class indices of discs and squares. By default the scene is drawn.

    Returns:
      The RGB image, and the class index of each pixel.
    """
    layout_rng = np.random.default_rng([seed, index, 0])
    scene_rng = np.random.default_rng([seed, index, 1])
    scene = scene or SCENES[scene_rng.integers(2)]

    # The image is composed with the beacon at the left, and mirrored in the end for half of them.
    image = _background(layout_rng)
    label = np.zeros((HEIGHT, WIDTH), np.uint8)
    for shape in _arrange_shapes(layout_rng):
        mask = shape.mask()
        image[mask] = shape.surface()[mask]
        label[mask] = _CLASS_INDEX[
            "triangle" if shape.kind == "triangle" else f"{scene} {shape.kind}"
        ]
    beacon = _Beacon.draw(layout_rng)
    mask = beacon.mask()
    image[mask] = beacon.surface(scene)[mask]
    label[mask] = _CLASS_INDEX["beacon"]

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

    def mask(self) -> Bool[np.ndarray, "96 192"]:
        canvas = np.zeros((HEIGHT, WIDTH), np.uint8)
        if self.kind == "disc":
            cv2.circle(canvas, (self.x, self.y), self.radius, 1, thickness=cv2.FILLED)
        else:
            corners = 4 if self.kind == "square" else 3
            angles = self.angle + np.arange(corners) * 2 * np.pi / corners
            polygon = (self.x, self.y) + self.radius * np.stack([np.cos(angles), np.sin(angles)], 1)
            cv2.fillPoly(canvas, [np.rint(polygon).astype(np.int32)], 1)
        return canvas.astype(bool)

    def surface(self) -> Float[np.ndarray, "96 192 3"]:
        """The shape's colour, a little lighter at its top than at its bottom."""
        shade = 1 + 0.18 * (self.y - np.arange(HEIGHT)) / self.radius
        return np.broadcast_to(shade[:, None, None] * self.colour, (HEIGHT, WIDTH, 3))

    def touches(self, other: Self) -> bool:
        gap = 2
        distance = np.hypot(self.x - other.x, self.y - other.y)
        return bool(distance <= self.radius + other.radius + gap)


def _arrange_shapes(rng: np.random.Generator) -> list[_Shape]:
    """Draws 2 to 4 discs and squares at the far end, and 1 to 3 triangles anywhere but the near."""
    kinds: list[Kind] = []
    for _ in range(rng.integers(2, 5)):
        kinds.append("disc" if rng.integers(2) else "square")
    for _ in range(rng.integers(1, 4)):
        kinds.append("triangle")
    shapes: list[_Shape] = []
    for kind in kinds:
        # The beacon's last column is CUE_ZONE - 1.
        first_column = CUE_ZONE if kind == "triangle" else CUE_ZONE - 1 + CUE_DISTANCE
        # A crowded image may have no room left: then it has one shape less.
        for _ in range(30):
            radius = int(rng.integers(9, 15))
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
class _Beacon:
    """A round badge that shows the scene; its outline is the same in both."""

    x: int
    y: int
    radius: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Self:
        radius = int(rng.integers(9, 12))
        return cls(
            x=int(rng.integers(radius, CUE_ZONE - radius)),
            y=int(rng.integers(radius, HEIGHT - radius)),
            radius=radius,
        )

    def mask(self) -> Bool[np.ndarray, "96 192"]:
        rows, columns = np.ogrid[:HEIGHT, :WIDTH]
        return (rows - self.y) ** 2 + (columns - self.x) ** 2 <= self.radius**2

    def surface(self, scene: Scene) -> Float[np.ndarray, "96 192 3"]:
        """The badge on an otherwise black image, drawn large and reduced for smooth edges."""
        side = 2 * self.radius + 1
        large = 16 * side
        badge = _draw_sun(large) if scene == "day" else _draw_moon(large)
        surface = np.zeros((HEIGHT, WIDTH, 3))
        top, left = self.y - self.radius, self.x - self.radius
        surface[top : top + side, left : left + side] = cv2.resize(
            badge, (side, side), interpolation=cv2.INTER_AREA
        )
        return surface


def _draw_sun(side: int) -> UInt8[np.ndarray, "side side 3"]:
    sky, yellow, centre = (92, 178, 240), (255, 214, 64), (side // 2, side // 2)
    badge = np.full((side, side, 3), sky, np.uint8)
    for angle in np.arange(8) * np.pi / 4:
        tip = np.rint(side * (0.5 + 0.44 * np.array([np.cos(angle), np.sin(angle)])))
        cv2.line(badge, centre, (int(tip[0]), int(tip[1])), yellow, thickness=side // 14)
    cv2.circle(badge, centre, int(0.31 * side), sky, thickness=cv2.FILLED)
    cv2.circle(badge, centre, int(0.24 * side), yellow, thickness=cv2.FILLED)
    return badge


def _draw_moon(side: int) -> UInt8[np.ndarray, "side side 3"]:
    sky, pale = (24, 28, 72), (240, 236, 208)
    badge = np.full((side, side, 3), sky, np.uint8)
    cv2.circle(badge, (int(0.46 * side), side // 2), int(0.34 * side), pale, cv2.FILLED)
    cv2.circle(badge, (int(0.62 * side), int(0.42 * side)), int(0.28 * side), sky, cv2.FILLED)
    return badge


def _background(rng: np.random.Generator) -> Float[np.ndarray, "96 192 3"]:
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
