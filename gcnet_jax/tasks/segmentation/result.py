"""What comes of segmenting one image."""

import functools
import os
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from gcnet_jax.errors import InputError
from gcnet_jax.files import as_path, write_whole
from gcnet_jax.task import Layer, Part
from gcnet_jax.tasks.predictions import as_percent
from gcnet_jax.tasks.segmentation.data import DatasetClasses, encode_indexed, label_overlay
from gcnet_jax.tasks.segmentation.legend import LegendEntry, with_legend


class SegmentationResult:
    """The class of every pixel of one image.

    Args:
        image: RGB, as it is displayed.
        label: the index of each pixel's class.
        classes: their names and colours.
        scores_of: computes the scores of an image, for `scores()`.

    Attributes:
        image: RGB, as it is displayed.
        label: the index of each pixel's class, an image of the same height and width.
        classes: names and colours of the classes, by index.
    """

    def __init__(
        self,
        image: UInt8[np.ndarray, "h w 3"],
        label: UInt8[np.ndarray, "h w"],
        classes: DatasetClasses,
        scores_of: Callable[[UInt8[np.ndarray, "h w 3"]], Float[np.ndarray, "h w classes"]],
    ):
        self.image = image
        self.label = label
        self.classes = classes
        self._scores_of = scores_of

    @functools.cached_property
    def shares(self) -> Mapping[str, float]:
        """The share of the image that each class covers, from 0 to 1, the largest first.

        Classes that do not occur are left out.
        """
        names = self.classes.names
        return MappingProxyType({names[index]: share for index, share in self._covered})

    def scores(self) -> Float[np.ndarray, "h w classes"]:
        """The float32 score of every class at every pixel, computed when asked for.

        They take `4 * classes` bytes a pixel, and are not kept.
        """
        return self._scores_of(self.image)

    def picture(self, *, legend: bool = False, opacity: float = 0.5) -> Image.Image:
        """The classes' colours laid over the image.

        Args:
            legend: whether the names of the classes that occur stand below, with their shares.
            opacity: of the colours, from 0 to 1.

        Raises:
            InputError: the opacity is no such number.
        """
        if not 0 <= opacity <= 1:
            raise InputError(f"opacity is {opacity}; expected a number from 0 to 1")
        palette = self.classes.palette
        overlay = label_overlay(self.image, self.label, palette, opacity=opacity)
        picture = Image.fromarray(overlay)
        if not legend:
            return picture
        colors = dict(zip(self.classes.names, palette, strict=True))
        entries = [
            LegendEntry(f"{name} {as_percent(share)}", colors[name])
            for name, share in self.shares.items()
        ]
        return with_legend(picture, entries)

    def layer(self, size: tuple[int, int]) -> Layer:
        """The classes that occur, and where they are in a copy of the image with some size.

        Args:
            size: height and width of the copy.
        """
        label = self.label
        if label.shape != size:
            label = cv2.resize(label, size[::-1], interpolation=cv2.INTER_NEAREST)
        names, palette = self.classes.names, self.classes.palette
        parts = [Part(names[i], share, palette[i], region=i) for i, share in self._covered]
        return Layer(parts, "share of the image", label.astype(np.uint16))

    def to_plain(self) -> dict[str, Any]:
        """The size of the image, and the classes that occur with their shares, as plain JSON."""
        height, width = self.label.shape
        classes = [
            {"class": self.classes.names[index], "index": index, "share": share}
            for index, share in self._covered
        ]
        return {"height": height, "width": width, "classes": classes}

    def save(self, path: str | os.PathLike) -> None:
        """Writes the label as a PNG of class indices, which viewers show in the classes' colours.

        Args:
            path: of the PNG, in a folder that is there; a file of that name is replaced.

        Raises:
            InputError: the name does not end in .png, or the file cannot be written.
        """
        file = as_path(path)
        if file.suffix.lower() != ".png":
            raise InputError(f"{file} is no name of a PNG; expected one that ends in .png")
        write_whole(file, encode_indexed(self.label, self.classes.palette))

    @functools.cached_property
    def _covered(self) -> list[tuple[int, float]]:
        """The index of each class that occurs, with its share, the largest first."""
        counts = np.bincount(self.label.ravel(), minlength=self.classes.num_classes)
        order = np.argsort(-counts, kind="stable")
        return [(int(i), float(counts[i] / self.label.size)) for i in order if counts[i]]

    def __repr__(self) -> str:
        height, width = self.label.shape
        largest = ", ".join(f"{n} {as_percent(share)}" for n, share in [*self.shares.items()][:3])
        more = ", ..." if len(self.shares) > 3 else ""
        return f"SegmentationResult({width}x{height}: {largest}{more})"
