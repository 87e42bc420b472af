"""A classifier with its weights, ready to take images."""

import functools
import os
from collections.abc import Iterator, Sequence
from typing import Any, cast

import jax
import numpy as np
from etils import epath
from flax import nnx
from jaxtyping import Array, Float, PyTree, UInt8
from ml_collections import ConfigDict
from PIL import Image

from gcnet_jax.data import displayed_pixels, read_rgb
from gcnet_jax.errors import InputError
from gcnet_jax.files import as_path
from gcnet_jax.models import merge, split_for_evaluation
from gcnet_jax.ops import check_pixels_of_image, normalize_images
from gcnet_jax.tasks.classification.classifier import Classifier
from gcnet_jax.tasks.classification.data import ImageClasses, evaluation_crop
from gcnet_jax.tasks.classification.result import ClassificationResult
from gcnet_jax.training import PretrainedModel

ImageInput = str | os.PathLike | Image.Image | UInt8[np.ndarray, "h w 3"]
"""What stands for an image: a path, a Pillow image, or an RGB array of 8 bits."""


class TrainedClassifier:
    """A network with its weights: called with an image, it returns what it is.

    Args:
        pretrained: the model with the weights of a checkpoint.
        config: of the run.

    Attributes:
        model: the network, an `nnx.Module` in evaluation mode, as it was loaded.
        config: of the run, which says how large images are and what is cut out of them.
        classes: what the network tells apart, by index.
        source: the file or folder that the weights are from.
    """

    model: Classifier
    config: ConfigDict
    classes: ImageClasses
    source: epath.Path

    def __init__(self, pretrained: PretrainedModel, config: ConfigDict):
        self.model = cast(Classifier, pretrained.model)
        self.config = config
        self.classes = pretrained.meaning
        self.source = pretrained.source

    def __call__(self, images: Any) -> Any:
        """Classifies an image, or a list of images in batches.

        Args:
            images: the path of an image file, a Pillow image, or an RGB array of 8 bits `(height,
                width, 3)`; or a list of such. They may have any sizes.

        Returns:
            A `ClassificationResult`; for a list a list of results in its order.

        Raises:
            InputError: one of them is no image, or cannot be read.
        """
        if isinstance(images, list | tuple):
            return list(self.results(images))
        return next(self.results([images]))

    def results(
        self, images: Sequence[ImageInput], *, batch_size: int | None = None
    ) -> Iterator[ClassificationResult]:
        """Yields the results of images in order, a batch at a time; errors as of `__call__`.

        Args:
            images: as for `__call__`.
            batch_size: images at a time; by default `evaluation.batch_size`, or all of fewer.
        """
        size: int = batch_size or max(min(self.config.evaluation.batch_size, len(images)), 1)
        for start in range(0, len(images), size):
            pixels = [self.pixels(image) for image in images[start : start + size]]
            data = self.config.data
            crops = [evaluation_crop(x, data.resize_size, data.crop_size) for x in pixels]
            # All batches have one size, so that one program is compiled.
            crops += [crops[0]] * (size - len(crops))
            probabilities = np.asarray(self._classify(np.stack(crops)))
            for image, of_image in zip(pixels, probabilities, strict=False):
                yield ClassificationResult(image, of_image, self.classes)

    def pixels(self, image: ImageInput) -> UInt8[np.ndarray, "h w 3"]:
        """The RGB pixels of an image; errors as of `__call__`."""
        if isinstance(image, str | os.PathLike):
            return read_rgb(as_path(image), max_pixels=self.config.data.max_image_pixels)
        if isinstance(image, Image.Image):
            return displayed_pixels(image)
        if isinstance(image, np.ndarray | jax.Array):
            pixels = np.asarray(image)
            check_pixels_of_image(pixels)
            return pixels
        raise InputError(
            f"the image is a {type(image).__name__}; expected a path, a Pillow image, or an RGB "
            "array of 8 bits"
        )

    @functools.cached_property
    def _program(self) -> Any:
        graphdef, variables = split_for_evaluation(self.model)
        return jax.jit(functools.partial(_probabilities, graphdef)), variables

    def _classify(self, images: UInt8[np.ndarray, "b h w 3"]) -> Float[Array, "b classes"]:
        program, variables = self._program
        return program(variables, images)

    def __repr__(self) -> str:
        return f"TrainedClassifier({str(self.source)!r}, {self.classes.num_classes} classes)"


def _probabilities(
    graphdef: nnx.GraphDef, variables: PyTree, images: UInt8[Array, "b h w 3"]
) -> Float[Array, "b classes"]:
    return jax.nn.softmax(merge(graphdef, variables)(normalize_images(images)))
