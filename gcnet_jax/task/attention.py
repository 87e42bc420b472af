"""How the networks of a task see one image, for maps of what their context blocks attend to."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int, UInt8
from ml_collections import ConfigDict


class SeenImage(NamedTuple):
    """What a network sees of an image.

    Attributes:
        pixels: RGB, an array of one of few shapes.
        size: height and width of what is seen, at the top left of the array.
        window: the part of the image that is seen: left, top, right and bottom, in parts of its
            width and height.
    """

    pixels: UInt8[np.ndarray, "h w 3"]
    size: tuple[int, int]
    window: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)


@dataclasses.dataclass(frozen=True)
class Attention:
    """How the networks of a task see one image.

    Attributes:
        seen: what they see of an image, RGB of 8 bits, by a run's config. Raises `InputError` for
            an image that they see in several parts.
        run: calls a model, as far as its last context block, with normalised images in such arrays,
            and their sizes.
    """

    seen: Callable[[UInt8[np.ndarray, "_h _w 3"], ConfigDict], SeenImage]
    run: Callable[[Any, Float[Array, "b h w 3"], Int[Array, "b 2"]], object]


def at_top_left(
    image: UInt8[np.ndarray, "_h _w 3"], shape: tuple[int, int]
) -> UInt8[np.ndarray, "h w 3"]:
    """An array of some height and width with an image at its top left, and zeros around it."""
    pixels = np.zeros((*shape, 3), np.uint8)
    pixels[: image.shape[0], : image.shape[1]] = image
    return pixels
