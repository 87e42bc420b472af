"""What generated scenes are drawn of: backgrounds, plain shapes, and a strip of sky.

Whatever is random is drawn from a generator that is handed in, so that equal seeds give equal
pictures. Pictures in the making are RGB in floats, from 0 to 255.
"""

import dataclasses
from typing import Literal, Self

import cv2
import numpy as np
from jaxtyping import Bool, Float

Scene = Literal["day", "night"]
Kind = Literal["disc", "square", "triangle"]

SCENES: tuple[Scene, ...] = ("day", "night")


@dataclasses.dataclass(frozen=True)
class Shape:
    """A disc, or a square or triangle inscribed in it.

    Attributes:
        kind: which of them.
        x: column of its centre.
        y: row of its centre.
        radius: of the disc, in pixels.
        angle: how it is turned, in radians.
        colour: RGB.
    """

    kind: Kind
    x: int
    y: int
    radius: int
    angle: float
    colour: Float[np.ndarray, "3"]

    def mask(self, size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
        """Returns where the shape is in a picture of a size (height, width)."""
        canvas = np.zeros(size, np.uint8)
        if self.kind == "disc":
            cv2.circle(canvas, (self.x, self.y), self.radius, 1, thickness=cv2.FILLED)
        else:
            corners = 4 if self.kind == "square" else 3
            angles = self.angle + np.arange(corners) * 2 * np.pi / corners
            polygon = (self.x, self.y) + self.radius * np.stack([np.cos(angles), np.sin(angles)], 1)
            cv2.fillPoly(canvas, [np.rint(polygon).astype(np.int32)], 1)
        return canvas.astype(bool)

    def surface(self, size: tuple[int, int]) -> Float[np.ndarray, "h w 3"]:
        """Returns the shape's colour, a little lighter at its top than at its bottom."""
        shade = 1 + 0.18 * (self.y - np.arange(size[0])) / self.radius
        return np.broadcast_to(shade[:, None, None] * self.colour, (*size, 3))

    def touches(self, other: Self) -> bool:
        """Returns whether another shape is nearer than 2 pixels."""
        gap = 2
        distance = np.hypot(self.x - other.x, self.y - other.y)
        return bool(distance <= self.radius + other.radius + gap)


@dataclasses.dataclass(frozen=True)
class Sky:
    """A strip that shows whether it is day or night; its outline, and where sun or moon stand.

    Attributes:
        width: of the strip, in pixels.
        x: column of the sun or the moon.
        y: row of the sun or the moon.
    """

    width: int
    x: int
    y: int

    @classmethod
    def draw(cls, rng: np.random.Generator, *, most: int, height: int, edge: int) -> Self:
        """Draws a strip.

        Args:
            rng: source of randomness.
            most: its greatest width in pixels; it may be up to 4 narrower.
            height: of the picture.
            edge: how many rows at the top and the bottom have neither sun nor moon in them.
        """
        width = int(rng.integers(most - 4, most + 1))
        return cls(width=width, x=width // 2, y=int(rng.integers(edge, height - edge)))

    def picture(
        self, scene: Scene, height: int, *, sun: int, moon: int
    ) -> Float[np.ndarray, "h w 3"]:
        """Returns the strip, drawn large and reduced for smooth edges.

        Args:
            scene: what it shows.
            height: of the picture.
            sun: radius of the sun in pixels, without its rays.
            moon: radius of the moon in pixels.
        """
        factor = 8
        large_size = height * factor, self.width * factor
        centre = factor * np.array((self.x, self.y))
        if scene == "day":
            large = _gradient(*large_size, (74, 156, 232), (158, 210, 246))
            _draw_sun(large, centre, sun * factor)
        else:
            large = _gradient(*large_size, (14, 18, 52), (44, 46, 96))
            _draw_moon(large, centre, moon * factor)
        return cv2.resize(large, (self.width, height), interpolation=cv2.INTER_AREA)


def draw_background(rng: np.random.Generator, size: tuple[int, int]) -> Float[np.ndarray, "h w 3"]:
    """Draws a gradient between two muted colours, with soft clouds over it.

    Args:
        rng: source of randomness.
        size: (height, width) in pixels, multiples of 16.
    """
    height, width = size
    first, second = (draw_colour(rng, saturation=(30, 110), value=(45, 120)) for _ in range(2))
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.meshgrid(
        np.linspace(-0.5, 0.5, height), np.linspace(-0.5, 0.5, width), indexing="ij"
    )
    weight = 0.5 + 0.7 * (np.cos(angle) * columns + np.sin(angle) * rows)
    coarse = rng.normal(0, 7, (height // 16, width // 16))
    clouds = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return first + weight[..., None] * (second - first) + clouds[..., None]


def draw_colour(
    rng: np.random.Generator,
    *,
    saturation: tuple[int, int],
    value: tuple[int, int],
    hue: tuple[int, int] = (0, 180),
) -> Float[np.ndarray, "3"]:
    """Draws an RGB colour.

    Args:
        rng: source of randomness.
        saturation: range, from the first and below the second, in 0 to 255.
        value: range of the brightness, likewise.
        hue: range of the hue in units of 2 degrees, of which 0 is red; it may begin below 0.
    """
    hsv = np.array([[[rng.integers(*hue) % 180, rng.integers(*saturation), rng.integers(*value)]]])
    return cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB)[0, 0].astype(np.float64)


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
