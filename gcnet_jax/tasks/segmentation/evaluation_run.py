"""A whole evaluation of a trained model on one split of its data set."""

import dataclasses
from typing import Any

import rich.console
import rich.progress
from ml_collections import ConfigDict

from gcnet_jax.errors import InputError
from gcnet_jax.parallel import (
    check_batch_size,
    create_mesh,
    input_shard,
    is_first_process,
    keep_freed_memory,
)
from gcnet_jax.tasks.configs import check_config
from gcnet_jax.tasks.segmentation.data import check_labels, dataset_classes
from gcnet_jax.tasks.segmentation.evaluation import Look
from gcnet_jax.tasks.segmentation.shown_images import ShownImages
from gcnet_jax.tasks.segmentation.split_evaluation import Evaluation, SplitEvaluation
from gcnet_jax.tasks.segmentation.trained_model import (
    TrainedModel,
    lack_of_memory_named,
    load_trained_model,
)


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
        check_labels(config.data.name, config.data.data_dir, self.split)
        self.trained = load_trained_model(config, self._mesh, **checkpoint)
        _check_classes(self.trained, config)
        self._evaluation = SplitEvaluation(
            config,
            self.trained.classes,
            self.trained.graphdef,
            self._mesh,
            split=self.split,
            multi_scale=multi_scale,
        )

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
        console = rich.console.Console(stderr=True)
        with rich.progress.Progress(console=console, disable=not is_first_process()) as progress:
            shown = progress.add_task("evaluating", total=self._evaluation.examples)
            with lack_of_memory_named():
                evaluation = self._evaluation(
                    self.trained.variables,
                    advance=lambda images: progress.advance(shown, images),
                    look=look,
                )
        if not evaluation.confusion.any():
            raise InputError(
                f"no pixel of split '{self.split}' of {self.config.data.name} has a label: there "
                "is nothing to evaluate, as in the test split of Cityscapes"
            )
        return dataclasses.replace(evaluation, checkpoint=self.trained.checkpoint)

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


def _check_classes(trained: TrainedModel, config: ConfigDict) -> None:
    classes = dataset_classes(config.data.name, config.data.data_dir)
    if trained.classes.names != classes.names:
        raise InputError(
            f"{trained.checkpoint} holds a model of other classes "
            f"({', '.join(trained.classes.names)}) "
            f"than data set {config.data.name} ({', '.join(classes.names)})"
        )
