"""A split of a data set, ready to be sent through a segmentor and counted."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import rich.table
from etils import epath
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Int, PyTree
from ml_collections import ConfigDict

from gcnet_jax.config import architecture, to_plain
from gcnet_jax.errors import InputError
from gcnet_jax.parallel import input_shard
from gcnet_jax.task import Scores
from gcnet_jax.tasks.segmentation.data import (
    DatasetClasses,
    EvaluationBatch,
    check_labels,
    evaluation_batches,
    height_multiple,
    split_size,
)
from gcnet_jax.tasks.segmentation.evaluation import (
    Look,
    SegmentationMetrics,
    create_evaluator,
    metrics_from_confusion,
)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What came of evaluating a model on a split.

    Attributes:
        dataset: name of the data set.
        split: name of the split.
        images: how many it has.
        inference: how the network saw them, in words.
        settings: what figures depend on beside weights and data, as plain JSON.
        classes: of the model and the data set.
        confusion: pixel counts by (label, prediction), summed over all images.
        metrics: of the confusion matrix.
        checkpoint: the file or folder that the weights are from, if there is one.
    """

    dataset: str
    split: str
    images: int
    inference: str
    settings: dict[str, Any]
    classes: DatasetClasses
    confusion: Int[np.ndarray, "classes classes"]
    metrics: SegmentationMetrics
    checkpoint: epath.Path | None = None

    @property
    def summary(self) -> dict[str, float]:
        """The means over classes, from 0 to 1, by the reference's names, such as `mIoU`."""
        return self.metrics.summary()

    @property
    def title(self) -> str:
        """What was evaluated and how, in one line."""
        return f"{self.dataset} {self.split}, {self.images} images, {self.inference}"

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

    def of_checkpoint(self, checkpoint: epath.Path) -> "Evaluation":
        """Returns a copy that says from which checkpoint the weights are."""
        return dataclasses.replace(self, checkpoint=checkpoint)

    def table(self) -> rich.table.Table:
        """One row a class and one of means, in percent."""
        return self.metrics.table(self.classes.names, self.title)

    def to_plain(self) -> dict[str, Any]:
        """All of it as plain JSON."""
        return {
            "dataset": self.dataset,
            "split": self.split,
            "images": self.images,
            "inference": self.inference,
            "settings": self.settings,
            "checkpoint": str(self.checkpoint) if self.checkpoint else None,
            **self.metrics.to_plain(self.classes.names),
            "confusion": self.confusion.tolist(),
        }


class SplitEvaluation:
    """A split of a data set, ready to be sent through a segmentor, as often as is wanted.

    Args:
        config: of the run.
        classes: of the segmentor and the data set.
        graphdef: the segmentor's structure, from `split_for_evaluation`.
        mesh: the devices.
        split: name of the split; by default the config's.
        multi_scale: whether to average over `evaluation.scales`, each with its mirror image.

    Attributes:
        examples: images in this process's part of the split.

    Raises:
        InputError: the split is not there, or has no labels.
    """

    def __init__(
        self,
        config: ConfigDict,
        classes: DatasetClasses,
        graphdef: nnx.GraphDef,
        mesh: Mesh,
        *,
        split: str | None = None,
        multi_scale: bool = False,
    ):
        self._config, self._classes, self._multi_scale = config, classes, multi_scale
        self._split = split or config.evaluation.split
        self._shard = input_shard(mesh)
        self._images = split_size(config.data.name, config.data.data_dir, self._split)
        self.examples = -(-self._images // self._shard.count)
        check_labels(config.data.name, config.data.data_dir, self._split)
        self._count = create_evaluator(
            graphdef, classes.num_classes, config.evaluation, mesh, mirrored_too=multi_scale
        )

    def __call__(
        self,
        variables: PyTree,
        *,
        advance: Callable[[int], None] = lambda examples: None,
        look: Look | None = None,
    ) -> Evaluation:
        """Sends every image of the split through the segmentor.

        Args:
            variables: of the segmentor, on all devices.
            advance: told after each batch how many images it had; what it raises ends the
                evaluation.
            look: is shown each batch with what is predicted for it.

        Returns:
            The same in every process.

        Raises:
            InputError: a record is corrupt.
        """
        confusion = self._count(variables, self._batches(advance), look)
        evaluation = self._config.evaluation
        inference = {"whole": "whole images", "slide": "sliding windows"}[evaluation.mode]
        if self._multi_scale:
            inference += f", scales {evaluation.scales} and flips"
        return Evaluation(
            dataset=self._config.data.name,
            split=self._split,
            images=self._images,
            inference=inference,
            settings=inference_settings(self._config, multi_scale=self._multi_scale),
            classes=self._classes,
            confusion=confusion,
            metrics=metrics_from_confusion(confusion),
        )

    def _batches(self, advance: Callable[[int], None]) -> Iterator[EvaluationBatch]:
        batches = evaluation_batches(
            self._config,
            self._split,
            multi_scale=self._multi_scale,
            height_multiple=height_multiple(self._config),
            shard_index=self._shard.index,
            shard_count=self._shard.count,
        )
        for batch in batches:
            yield batch
            advance(int((batch["index"] >= 0).sum()))


def inference_settings(config: ConfigDict, *, multi_scale: bool) -> dict[str, Any]:
    """What the figures of an evaluation depend on beside weights and data, ready for JSON."""
    evaluation = config.evaluation
    settings: dict[str, Any] = {"multi_scale": multi_scale, "mode": evaluation.mode}
    settings["model"] = architecture(to_plain(config)["model"])
    if evaluation.mode == "slide":
        settings["window"] = list(evaluation.window)
        settings["window_stride"] = list(evaluation.window_stride)
    if multi_scale:
        settings["scales"] = list(evaluation.scales)
    else:
        settings["base_scale"] = list(config.data.base_scale)
    return settings
