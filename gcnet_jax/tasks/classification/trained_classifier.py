"""A classifier with its weights, ready to take images."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PyTree, UInt8

from gcnet_jax.models import merge, split_for_evaluation
from gcnet_jax.ops import normalize_images
from gcnet_jax.tasks.classification.classifier import Classifier
from gcnet_jax.tasks.classification.data import ImageClasses, evaluation_crop
from gcnet_jax.tasks.classification.result import ClassificationResult
from gcnet_jax.tasks.trained_network import ImageInput, TrainedOnClasses, pixels_of


class TrainedClassifier(TrainedOnClasses[Classifier, ImageClasses, ClassificationResult]):
    """A network with its weights: called with an image, or a list of images, it classifies them.

    The config says how large images are made, and what is cut out of them.

    Args:
        pretrained: the model with the weights of a checkpoint.
        config: of the run.

    Attributes:
        model: the network, an `nnx.Module` in evaluation mode, as it was loaded.
        config: of the run.
        classes: what the network tells apart, by index.
        source: the file or folder that the weights are from.
    """

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
        return pixels_of(image, max_pixels=self.config.data.max_image_pixels)

    @functools.cached_property
    def _program(self) -> Any:
        graphdef, variables = split_for_evaluation(self.model)
        return jax.jit(functools.partial(_probabilities, graphdef)), variables

    def _classify(self, images: UInt8[np.ndarray, "b h w 3"]) -> Float[Array, "b classes"]:
        program, variables = self._program
        return program(variables, images)


def _probabilities(
    graphdef: nnx.GraphDef, variables: PyTree, images: UInt8[Array, "b h w 3"]
) -> Float[Array, "b classes"]:
    return jax.nn.softmax(merge(graphdef, variables)(normalize_images(images)))
