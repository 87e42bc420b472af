"""A whole evaluation of a trained model on one split of its data set."""

import dataclasses
import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import rich.console
import rich.progress
import rich.table
from etils import epath
from jaxtyping import Int
from ml_collections import ConfigDict

from gcnet_jax.config import as_config, check_config
from gcnet_jax.errors import InputError
from gcnet_jax.evaluation import (
    Look,
    SegmentationMetrics,
    create_evaluator,
    metrics_from_confusion,
)
from gcnet_jax.files import as_path
from gcnet_jax.parallel import (
    check_batch_size,
    create_mesh,
    input_shard,
    is_first_process,
    keep_freed_memory,
)
from gcnet_jax.pretrained import saved_config
from gcnet_jax.tasks.segmentation.data import (
    DatasetClasses,
    EvaluationBatch,
    check_labels,
    dataset_classes,
    evaluation_batches,
    height_multiple,
    split_size,
)
from gcnet_jax.tasks.segmentation.shown_images import ShownImages
from gcnet_jax.tasks.segmentation.trained_model import (
    TrainedModel,
    inference_settings,
    lack_of_memory_named,
    load_trained_model,
)
from gcnet_jax.training import find_checkpoint


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What came of evaluating a model on a split.

    Attributes:
        dataset: name of the data set.
        split: name of the split.
        images: how many it has.
        inference: how the network saw them, in words.
        settings: what figures depend on beside weights and data, as plain JSON.
        checkpoint: the file or folder that the weights are from.
        classes: of the model and the data set.
        confusion: pixel counts by (label, prediction), summed over all images.
        metrics: of the confusion matrix.
    """

    dataset: str
    split: str
    images: int
    inference: str
    settings: dict[str, Any]
    checkpoint: epath.Path
    classes: DatasetClasses
    confusion: Int[np.ndarray, "classes classes"]
    metrics: SegmentationMetrics

    @property
    def summary(self) -> dict[str, float]:
        """The means over classes, from 0 to 1, by the reference's names, such as `mIoU`."""
        return self.metrics.summary()

    @property
    def title(self) -> str:
        """What was evaluated and how, in one line."""
        return f"{self.dataset} {self.split}, {self.images} images, {self.inference}"

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
            "checkpoint": str(self.checkpoint),
            **self.metrics.to_plain(self.classes.names),
            "confusion": self.confusion.tolist(),
        }


class EvaluationRun:
    """An evaluation about to run, with everything that can be checked beforehand checked.

    All processes of a job make one and run it together.

    Args:
        config: of the run.
        split: name of the split; by default the config's.
        multi_scale: whether to average over `evaluation.scales`, each with its mirror image.
        **checkpoint: which weights, as `load_trained_model` takes them.

    Attributes:
        config: of the run.
        split: name of the split.
        trained: the model.

    Raises:
        InputError: the config, the devices, the data set and the checkpoint do not fit together, or
            the split has no labels.
    """

    def __init__(
        self,
        config: ConfigDict,
        *,
        split: str | None = None,
        multi_scale: bool = False,
        **checkpoint: Any,
    ):
        check_config(config)
        self.config = config
        self.split = split or config.evaluation.split
        self._multi_scale = multi_scale
        self._mesh = create_mesh(spatial=config.parallel.spatial)
        keep_freed_memory()
        check_batch_size(config.evaluation.batch_size, self._mesh, key="evaluation.batch_size")
        self._images = split_size(config.data.name, config.data.data_dir, self.split)
        check_labels(config.data.name, config.data.data_dir, self.split)
        self.trained = load_trained_model(config, self._mesh, **checkpoint)
        _check_classes(self.trained, config)

    def evaluate(self, look: Look | None = None) -> Evaluation:
        """Sends every image of the split through the network, with a progress bar on stderr.

        Args:
            look: is shown each batch with what is predicted for it.

        Returns:
            The same in every process.

        Raises:
            InputError: no pixel of the split has a label, a record is corrupt, or the devices have
                too little memory.
        """
        confusion = self._confusion(look)
        if not confusion.any():
            raise InputError(
                f"no pixel of split '{self.split}' of {self.config.data.name} has a label: there "
                "is nothing to evaluate, as in the test split of Cityscapes"
            )
        evaluation = self.config.evaluation
        inference = {"whole": "whole images", "slide": "sliding windows"}[evaluation.mode]
        if self._multi_scale:
            inference += f", scales {evaluation.scales} and flips"
        return Evaluation(
            dataset=self.config.data.name,
            split=self.split,
            images=self._images,
            inference=inference,
            settings=inference_settings(self.config, multi_scale=self._multi_scale),
            checkpoint=self.trained.checkpoint,
            classes=self.trained.classes,
            confusion=confusion,
            metrics=metrics_from_confusion(confusion),
        )

    def shown_images(self, count: int) -> ShownImages:
        """What picks images to show, whose `look` is for `evaluate`.

        Args:
            count: how many from all over the split, and how many of the worst.
        """
        return ShownImages(
            self.config,
            self.split,
            input_shard(self._mesh),
            multi_scale=self._multi_scale,
            count=count,
        )

    def _confusion(self, look: Look | None) -> Int[np.ndarray, "classes classes"]:
        """Pixel counts by (label, prediction) over the split, with a progress bar."""
        shard, console = input_shard(self._mesh), rich.console.Console(stderr=True)
        with rich.progress.Progress(console=console, disable=not is_first_process()) as progress:
            task = progress.add_task("evaluating", total=-(-self._images // shard.count))

            def counted(batches: Iterable[EvaluationBatch]) -> Iterator[EvaluationBatch]:
                for batch in batches:
                    yield batch
                    progress.advance(task, int((batch["label_size"][:, 0] > 0).sum()))

            evaluate = create_evaluator(
                self.trained.graphdef,
                self.trained.classes.num_classes,
                self.config.evaluation,
                self._mesh,
                mirrored_too=self._multi_scale,
            )
            batches = evaluation_batches(
                self.config,
                self.split,
                multi_scale=self._multi_scale,
                height_multiple=height_multiple(self.config),
                shard_index=shard.index,
                shard_count=shard.count,
            )
            with lack_of_memory_named():
                return evaluate(self.trained.variables, counted(batches), look)


def evaluate(
    workdir: str | os.PathLike,
    split: str | None = None,
    *,
    config: ConfigDict | str | os.PathLike | None = None,
    multi_scale: bool = False,
) -> Evaluation:
    """Evaluates the best checkpoint of a run.

    Args:
        workdir: folder of the run.
        split: name of the split; by default that of the config, on which training evaluates too.
        config: a config, the name of one, or the path of its file; by default the run's own.
        multi_scale: whether to average over `evaluation.scales`, each with its mirror image.

    Raises:
        InputError: there is no checkpoint, it is not the config's, or the data set is not prepared.
    """
    if config is None:
        config = saved_config(find_checkpoint(workdir))
    return EvaluationRun(
        as_config(config), split=split, multi_scale=multi_scale, workdir=os.fspath(as_path(workdir))
    ).evaluate()


def _check_classes(trained: TrainedModel, config: ConfigDict) -> None:
    classes = dataset_classes(config.data.name, config.data.data_dir)
    if trained.classes.names != classes.names:
        raise InputError(
            f"{trained.checkpoint} holds a model of other classes "
            f"({', '.join(trained.classes.names)}) "
            f"than data set {config.data.name} ({', '.join(classes.names)})"
        )
