"""How a segmentor is evaluated on a split of a data set, and what comes of it."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import rich.table
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Int, PyTree
from ml_collections import ConfigDict

from gcnet_jax.errors import InputError
from gcnet_jax.parallel import InputShard
from gcnet_jax.task import Evaluated, Evaluator, Scores
from gcnet_jax.tasks.segmentation.data import (
    DatasetClasses,
    EvaluationBatch,
    evaluation_batches,
    height_multiple,
)
from gcnet_jax.tasks.segmentation.evaluation import (
    Counts,
    PixelCounter,
    Predicted,
    SegmentationMetrics,
    confusion_of,
    metrics_from_confusion,
)


@dataclasses.dataclass(frozen=True)
class Evaluation(Evaluated):
    """What came of evaluating a segmentor on a split, see `Evaluated`.

    Attributes:
        classes: of the model and the data set.
        confusion: pixel counts by (label, prediction), summed over all images.
        metrics: of the confusion matrix.
    """

    classes: DatasetClasses
    confusion: Int[np.ndarray, "classes classes"]
    metrics: SegmentationMetrics

    @property
    def summary(self) -> dict[str, float]:
        """The means over classes, from 0 to 1, by the reference's names, such as `mIoU`."""
        return self.metrics.summary()

    def scores(self) -> Scores:
        """What a run logs of it: the means over classes, and the IoU of each class."""
        by_name = self.metrics.iou_by_name(self.classes.names)
        by_class = {f"IoU/{name}": value for name, value in by_name.items()}
        return Scores(self.summary, by_class, self.metrics.note())

    def check(self) -> None:
        """Raises InputError if no pixel of the split has a label."""
        if not self.confusion.any():
            raise InputError(
                f"no pixel of split '{self.split}' of {self.dataset} has a label: there is nothing "
                "to evaluate, as in the test split of Cityscapes"
            )

    def table(self) -> rich.table.Table:
        """One row a class and one of means, in percent."""
        return self.metrics.table(self.classes.names, self.title)

    def found(self) -> dict[str, Any]:
        """The metrics and what they are made of, as plain JSON."""
        return {
            **self.metrics.to_plain(self.classes.names),
            "confusion": self.confusion.tolist(),
        }


class SegmentationEvaluator(Evaluator[DatasetClasses]):
    """How a segmentor is evaluated on a split, see `Evaluator`; at several scales those of
    `evaluation.scales`, each with its mirror image."""

    MULTI_SCALE = True

    def __init__(
        self,
        config: ConfigDict,
        meaning: DatasetClasses,
        graphdef: nnx.GraphDef,
        mesh: Mesh,
        **of_split: Any,
    ):
        super().__init__(config, meaning, graphdef, mesh, **of_split)
        self._counter = PixelCounter(
            graphdef,
            meaning.num_classes,
            config.evaluation,
            mesh,
            mirrored_too=self.multi_scale,
        )

    @property
    def inference(self) -> str:
        """How the network sees images, in words."""
        evaluation = self.config.evaluation
        how = {"whole": "whole images", "slide": "sliding windows"}[evaluation.mode]
        return f"{how}, scales {evaluation.scales} and flips" if self.multi_scale else how

    @property
    def settings(self) -> dict[str, Any]:
        """What figures depend on beside weights, network and data."""
        return inference_settings(self.config, multi_scale=self.multi_scale)

    def batches(self, shard: InputShard) -> Iterator[EvaluationBatch]:
        """Yields a process's part of every batch of the split."""
        return evaluation_batches(
            self.config,
            self.split,
            multi_scale=self.multi_scale,
            height_multiple=height_multiple(self.config),
            shard_index=shard.index,
            shard_count=shard.count,
        )

    def start(self) -> Counts:
        """The counts of no batch."""
        return self._counter.start()

    def add(
        self, counts: Counts, variables: PyTree, batch: EvaluationBatch
    ) -> tuple[Counts, Predicted]:
        """The counts with those of a batch, and what is predicted for it."""
        return self._counter.add(counts, variables, batch)

    def evaluated(self, counts: Counts, **about: Any) -> Evaluation:
        """The result of all batches."""
        confusion = confusion_of(counts)
        metrics = metrics_from_confusion(confusion)
        return Evaluation(self.meaning, confusion, metrics, **about)


def inference_settings(config: ConfigDict, *, multi_scale: bool) -> dict[str, Any]:
    """What the figures of an evaluation depend on beside weights, network and data."""
    evaluation = config.evaluation
    settings: dict[str, Any] = {"multi_scale": multi_scale, "mode": evaluation.mode}
    if evaluation.mode == "slide":
        settings["window"] = list(evaluation.window)
        settings["window_stride"] = list(evaluation.window_stride)
    if multi_scale:
        settings["scales"] = list(evaluation.scales)
    else:
        settings["base_scale"] = list(config.data.base_scale)
    return settings
