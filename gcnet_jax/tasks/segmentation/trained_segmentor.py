"""A segmentor with its weights, ready to take images."""

import functools
from collections.abc import Sequence

from gcnet_jax.models import split_for_evaluation
from gcnet_jax.tasks.segmentation.data import DatasetClasses
from gcnet_jax.tasks.segmentation.predictor import Predictor
from gcnet_jax.tasks.segmentation.result import SegmentationResult
from gcnet_jax.tasks.segmentation.segmentor import Segmentor
from gcnet_jax.tasks.trained_network import ImageInput, TrainedOnClasses


class TrainedSegmentor(TrainedOnClasses[Segmentor, DatasetClasses, SegmentationResult]):
    """A network with its weights: called with an image, or a list of images, it segments them.

    Images go through as the config's base scale and its mode of evaluation say.

    Args:
        pretrained: the model with the weights of a checkpoint.
        config: of the run.

    Attributes:
        model: the network, an `nnx.Module` in evaluation mode, as it was loaded.
        config: of the run.
        classes: names and colours of what the network tells apart, by index.
        source: the file or folder that the weights are from.
    """

    def results(self, images: Sequence[ImageInput]) -> list[SegmentationResult]:
        """The results of images in order; errors as of `__call__`."""
        return self._predictor.results(images)

    @functools.cached_property
    def _predictor(self) -> Predictor:
        graphdef, variables = split_for_evaluation(self.model)
        return Predictor(graphdef, variables, self.classes, self.config)
