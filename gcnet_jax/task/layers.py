"""What a result shows over its image: regions that can be pointed at, and what is said of each."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image


class Part(NamedTuple):
    """One thing that a result says: a class that covers pixels, an object, a class of the image.

    Attributes:
        name: of its class.
        value: its share, score or probability, from 0 to 1; see `Layer.measure`.
        color: RGB.
        region: the value that its pixels have in `Layer.regions`.
        box: (x1, y1, x2, y2) around it, in parts of the image's width and height.
    """

    name: str
    value: float
    color: tuple[int, int, int]
    region: int
    box: tuple[float, float, float, float] | None = None


class Layer(NamedTuple):
    """What a result shows over its image.

    Attributes:
        parts: what it says, the largest or surest first.
        measure: what the values of the parts are, in words.
        regions: of which part each pixel is; a value that no part has is none's. None if the result
            is about the whole image.
    """

    parts: Sequence[Part]
    measure: str
    regions: UInt16[np.ndarray, "h w"] | None = None


class ShownResult(Protocol):
    """What comes of an image, as every task has it.

    Attributes:
        image: RGB, as it is displayed.
    """

    image: UInt8[np.ndarray, "h w 3"]

    def picture(self) -> Image.Image:
        """The image with the result over it."""
        ...

    def to_plain(self) -> Any:
        """The result as plain JSON."""
        ...

    def layer(self, size: tuple[int, int]) -> Layer:
        """What it shows over a copy of the image with some height and width."""
        ...
