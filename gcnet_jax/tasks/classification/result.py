"""What comes of classifying one image."""

import json
import os
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from gcnet_jax.data.picture_table import Row, draw_table, fitted
from gcnet_jax.files import as_path, write_whole
from gcnet_jax.task import Layer, Part
from gcnet_jax.tasks.classification.data import ImageClasses
from gcnet_jax.tasks.predictions import as_percent

_CELL = 480  # pixels of a picture's width, and of its greatest height
_NAMED = 5
_COLOR = (31, 111, 235)


class ClassificationResult:
    """The classes of one image with their probabilities.

    Args:
        image: RGB, as it is displayed.
        probabilities: of each class.
        classes: their names.

    Attributes:
        image: RGB, as it is displayed.
        probabilities: of each class, by index; they sum to one.
        classes: the names of the classes, by index.
    """

    def __init__(
        self,
        image: UInt8[np.ndarray, "h w 3"],
        probabilities: Float[np.ndarray, " classes"],
        classes: ImageClasses,
    ):
        self.image = image
        self.probabilities = probabilities
        self.classes = classes

    @property
    def label(self) -> int:
        """The index of the most likely class."""
        return int(self.probabilities.argmax())

    @property
    def name(self) -> str:
        """The name of the most likely class."""
        return self.classes.names[self.label]

    def top(self, count: int = _NAMED) -> dict[str, float]:
        """The names of the most likely classes with their probabilities, the most likely first."""
        order = np.argsort(-self.probabilities, kind="stable")[:count]
        return {self.classes.names[i]: float(self.probabilities[i]) for i in order}

    def scores(self) -> Float[np.ndarray, " classes"]:
        """The probability of every class."""
        return self.probabilities

    def picture(self) -> Image.Image:
        """The image with the most likely classes above it."""
        words = ", ".join(f"{name} {as_percent(share)}" for name, share in self.top(3).items())
        return draw_table([""], [Row(words, (fitted(self.image, _CELL),))], [], cell=_CELL)

    def layer(self, size: tuple[int, int]) -> Layer:
        """The most likely classes, which are about the whole image."""
        top = self.top().items()
        parts = [Part(name, share, _COLOR, region) for region, (name, share) in enumerate(top)]
        return Layer(parts, "probability")

    def to_plain(self) -> dict[str, Any]:
        """The most likely classes as plain JSON."""
        return {"class": self.name, "index": self.label, "most_likely": self.top()}

    def save(self, path: str | os.PathLike) -> None:
        """Writes the most likely classes as JSON.

        Raises:
            InputError: the file cannot be written.
        """
        write_whole(as_path(path), json.dumps(self.to_plain(), indent=2) + "\n")

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        likely = ", ".join(f"{name} {as_percent(share)}" for name, share in self.top(3).items())
        return f"ClassificationResult({width}x{height}: {likely})"
