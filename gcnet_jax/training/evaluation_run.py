"""A whole evaluation of a trained model on one split of its data set."""

from typing import Any

import rich.console
import rich.progress
from ml_collections import ConfigDict

from gcnet_jax.config import check_config
from gcnet_jax.errors import InputError
from gcnet_jax.parallel import (
    check_batch_size,
    create_mesh,
    input_shard,
    is_first_process,
    keep_freed_memory,
)
from gcnet_jax.task import Evaluated, Look, ShownExamples, Task
from gcnet_jax.training.split_evaluation import SplitEvaluation
from gcnet_jax.training.trained_model import lack_of_memory_named, load_trained_model


class EvaluationRun:
    """An evaluation about to run, with everything that can be checked beforehand checked.

    All processes of a job make one and run it together.

    Args:
        task: of the run.
        config: of the run.
        split: name of the split; by default the config's.
        multi_scale: whether to average over several scales.
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
        task: Task,
        config: ConfigDict,
        *,
        split: str | None = None,
        multi_scale: bool = False,
        **checkpoint: Any,
    ):
        check_config(config, task.schema)
        self._task = task
        self.config = config = task.with_evaluation_split(config)
        self.split = split or config.evaluation.split
        self._multi_scale = multi_scale
        self._mesh = create_mesh(spatial=config.parallel.spatial)
        keep_freed_memory()
        check_batch_size(config.evaluation.batch_size, self._mesh, key="evaluation.batch_size")
        task.check_split(config, self.split)
        self.trained = load_trained_model(task, config, self._mesh, **checkpoint)
        meaning = task.meaning_of_data(config)
        if not meaning.means_same(self.trained.meaning):
            raise InputError(
                f"{self.trained.checkpoint} holds a model of other classes than data set "
                f"{config.data.name}: {self.trained.meaning.in_words()}, and not "
                f"{meaning.in_words()}"
            )
        self._evaluation = SplitEvaluation(
            task,
            config,
            self.trained.meaning,
            self.trained.graphdef,
            self._mesh,
            split=self.split,
            multi_scale=multi_scale,
        )

    def evaluate(self, look: Look | None = None) -> Evaluated:
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
        evaluation.check()
        return evaluation.of_checkpoint(self.trained.checkpoint)

    def shown_examples(self, count: int) -> ShownExamples | None:
        """What picks examples to show, whose `look` is for `evaluate`; None if the task shows none.

        Args:
            count: how many from all over the split, and how many of the worst.
        """
        if self._task.shown_examples is None:
            return None
        return self._task.shown_examples(
            self.config,
            self.split,
            input_shard(self._mesh),
            multi_scale=self._multi_scale,
            count=count,
        )
