"""A segmentor with its weights, ready to take images."""

import functools
from collections.abc import Sequence
from typing import cast, overload

from etils import epath
from ml_collections import ConfigDict

from gcnet_jax.models import split_for_evaluation
from gcnet_jax.tasks.segmentation.data import DatasetClasses
from gcnet_jax.tasks.segmentation.predictor import ImageInput, Predictor
from gcnet_jax.tasks.segmentation.result import SegmentationResult
from gcnet_jax.tasks.segmentation.segmentor import Segmentor
from gcnet_jax.training import PretrainedModel


class TrainedSegmentor:
    """A network with its weights: called with an image, it returns what it sees there.

    Args:
        pretrained: the model with the weights of a checkpoint.
        config: of the run.

    Attributes:
        model: the network, an `nnx.Module` in evaluation mode, as it was loaded.
        config: of the run: its base scale and its mode of evaluation say how images go through.
        classes: names and colours of what the network tells apart, by index.
        source: the file or folder that the weights are from.
    """

    model: Segmentor
    config: ConfigDict
    classes: DatasetClasses
    source: epath.Path

    def __init__(self, pretrained: PretrainedModel, config: ConfigDict):
        self.model = cast(Segmentor, pretrained.model)
        self.config = config
        self.classes = pretrained.meaning
        self.source = pretrained.source

    @overload
    def __call__(
        self, images: list[ImageInput] | tuple[ImageInput, ...]
    ) -> list[SegmentationResult]: ...
    @overload
    def __call__(self, images: ImageInput) -> SegmentationResult: ...
    def __call__(
        self, images: ImageInput | Sequence[ImageInput]
    ) -> SegmentationResult | list[SegmentationResult]:
        """Segments an image, or a list of images in batches.

        Args:
            images: the path of an image file, a Pillow image, or an RGB array of 8 bits `(height,
                width, 3)`; or a list of such. They may have any sizes.

        Returns:
            The result; for a list a list of results in its order.

        Raises:
            InputError: one of them is no image, or cannot be read.
        """
        if isinstance(images, list | tuple):
            return self._predictor.results(images)
        return self._predictor.results([cast(ImageInput, images)])[0]

    @functools.cached_property
    def _predictor(self) -> Predictor:
        graphdef, variables = split_for_evaluation(self.model)
        return Predictor(graphdef, variables, self.classes, self.config)

    def __repr__(self) -> str:
        return f"TrainedSegmentor({str(self.source)!r}, {self.classes.num_classes} classes)"
