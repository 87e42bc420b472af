"""A segmentor with its weights, ready to take images."""

import functools
from collections.abc import Sequence

from flax import nnx

from gcnet_jax.models import split_for_evaluation
from gcnet_jax.task import ExportedNetwork
from gcnet_jax.tasks.segmentation.build_model import build_model
from gcnet_jax.tasks.segmentation.data import DatasetClasses
from gcnet_jax.tasks.segmentation.evaluation import ExportedInference
from gcnet_jax.tasks.segmentation.exported_programs import LOGITS
from gcnet_jax.tasks.segmentation.predictor import Predictor
from gcnet_jax.tasks.segmentation.result import SegmentationResult
from gcnet_jax.tasks.segmentation.segmentor import Segmentor
from gcnet_jax.tasks.trained_network import ImageInput, TrainedOnClasses


class TrainedSegmentor(TrainedOnClasses[Segmentor, DatasetClasses, SegmentationResult]):
    """A network with its weights: called with an image, or a list of images, it segments them.

    Images go through as the config's base scale and its mode of evaluation say.

    Args:
        network: the model with the weights of a checkpoint, or the programs of an exported file.
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
        if isinstance(self._network, ExportedNetwork):
            program = self._network.programs[LOGITS]
            grid = nnx.eval_shape(
                lambda: build_model(self.config.model, num_classes=self.classes.num_classes)
            )
            inference = ExportedInference(
                lambda images, sizes: program(images, sizes)[LOGITS], grid, self.config.evaluation
            )
            return Predictor(inference, {}, self.classes, self.config, shapes=program.shapes)
        graphdef, variables = split_for_evaluation(self.model)
        return Predictor(graphdef, variables, self.classes, self.config)
