"""What comes of segmenting one image."""

import functools
import os
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from gcnet_jax.errors import InputError
from gcnet_jax.files import as_path, write_whole
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
        counts = np.bincount(self.label.ravel(), minlength=self.classes.num_classes)
        order = np.argsort(-counts, kind="stable")
        shares = {self.classes.names[i]: counts[i] / self.label.size for i in order if counts[i]}
        return MappingProxyType({name: float(share) for name, share in shares.items()})

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

    def __repr__(self) -> str:
        height, width = self.label.shape
        largest = ", ".join(f"{n} {as_percent(share)}" for n, share in [*self.shares.items()][:3])
        more = ", ..." if len(self.shares) > 3 else ""
        return f"SegmentationResult({width}x{height}: {largest}{more})"
