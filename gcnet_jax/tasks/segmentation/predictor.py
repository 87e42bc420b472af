"""From images of any size to the class of each of their pixels."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float, PyTree, UInt8
from ml_collections import ConfigDict
from PIL import Image

from gcnet_jax.data import DatasetClasses, displayed_pixels, read_rgb
from gcnet_jax.errors import InputError
from gcnet_jax.evaluation import create_predictor
from gcnet_jax.files import as_path
from gcnet_jax.ops import check_pixels
from gcnet_jax.tasks.segmentation.result import SegmentationResult

ImageInput = str | os.PathLike | Image.Image | UInt8[np.ndarray, "h w 3"]
"""An image as users have it: the path of a file, a Pillow image, or an RGB array of 8 bits."""


class Predictor:
    """Segments images with one network.

    Args:
        graphdef: the model's structure in evaluation mode, from `split_for_evaluation`.
        variables: its variables.
        classes: what its logits mean.
        config: of the run.
        multi_scale: whether to average over `evaluation.scales`, each with its mirror image.
    """

    def __init__(
        self,
        graphdef: nnx.GraphDef,
        variables: PyTree,
        classes: DatasetClasses,
        config: ConfigDict,
        *,
        multi_scale: bool = False,
    ):
        self._classes = classes
        self._max_pixels = config.data.max_image_pixels
        self._scores_of = create_predictor(graphdef, variables, config, multi_scale=multi_scale)

    def segment(self, images: Sequence[ImageInput]) -> Iterator[SegmentationResult]:
        """Yields the result of each image, in their order.

        Raises:
            InputError: one of them is no image.
        """
        for image in images:
            pixels = self._pixels(image)
            label = self.scores(pixels).argmax(-1).astype(np.uint8)
            yield SegmentationResult(pixels, label, self._classes, self.scores)

    def scores(self, image: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w classes"]:
        """The float32 score of every class at every pixel of an image: logits, or probabilities."""
        return self._scores_of(image)

    def _pixels(self, image: Any) -> UInt8[np.ndarray, "h w 3"]:
        if isinstance(image, str | os.PathLike):
            return read_rgb(as_path(image), max_pixels=self._max_pixels)
        if isinstance(image, Image.Image):
            return displayed_pixels(image)
        if isinstance(image, np.ndarray | jax.Array):
            pixels = np.asarray(image)
            check_pixels(pixels[None])
            return pixels
        raise InputError(
            f"the image is a {type(image).__name__}; expected a path, a Pillow image, or an RGB "
            "array of 8 bits"
        )
