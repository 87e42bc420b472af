"""A classifier with its weights, ready to take images."""

import functools
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import UInt8

from gcnet_jax.task import RunProgram
from gcnet_jax.tasks.classification.classifier import Classifier
from gcnet_jax.tasks.classification.data import ImageClasses
from gcnet_jax.tasks.classification.exported_programs import EXPORT, PROBABILITIES
from gcnet_jax.tasks.classification.result import ClassificationResult
from gcnet_jax.tasks.trained_network import ImageInput, TrainedOnClasses, pixels_of


class TrainedClassifier(TrainedOnClasses[Classifier, ImageClasses, ClassificationResult]):
    """A network with its weights: called with an image, or a list of images, it classifies them.

    The config says how large images are made, and what is cut out of them.

    Args:
        network: the model with the weights of a checkpoint, or the programs of an exported file.
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
            crops = [EXPORT.seen(x, self.config) for x in pixels]
            # All batches have one size, so that one program is compiled.
            crops += [crops[0]] * (size - len(crops))
            probabilities = np.asarray(self._program(np.stack(crops))[PROBABILITIES])
            for image, of_image in zip(pixels, probabilities, strict=False):
                yield ClassificationResult(image, of_image, self.classes)

    def pixels(self, image: ImageInput) -> UInt8[np.ndarray, "h w 3"]:
        """The RGB pixels of an image; errors as of `__call__`."""
        return pixels_of(image, max_pixels=self.config.data.max_image_pixels)

    @functools.cached_property
    def _program(self) -> RunProgram:
        return self._run_program(PROBABILITIES, EXPORT)
