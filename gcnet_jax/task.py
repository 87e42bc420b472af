"""What a run needs of a task: a protocol that the module `task` of each task's folder fulfils."""

import dataclasses
import re
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import rich.table
from etils import epath
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, PyTree, Shaped
from ml_collections import ConfigDict

from gcnet_jax.config import Schema
from gcnet_jax.data import TrainIterator
from gcnet_jax.interop import Mismatch, StateDict
from gcnet_jax.parallel import InputShard

Metrics = dict[str, Float[Array, ""]]
"""Numbers by name."""
LossFunction = Callable[[Any, PyTree, nnx.Rngs], tuple[Float[Array, ""], Metrics]]
"""Takes the model, a batch and random streams to the loss, the mean over the batch, and metrics."""
Look = Callable[[Any, Any], None]
"""Takes this process's part of a batch, and what is predicted for it, which may be under way."""
ShowPicture = Callable[[int, str, bytes, tuple[int, int]], None]
"""Takes a step, a name, an encoded picture and its height and width, to show it in the log."""


@dataclasses.dataclass(frozen=True)
class Scores:
    """What an evaluation during training has found.

    Attributes:
        metrics: of the whole set, by name, from 0 to 1; one of them decides which checkpoint is the
          best.
        parts: what they are made of, such as the value of each class; logged beside them, but not
          shown.
        note: shown behind the metrics, such as that they leave something out.
    """

    metrics: Mapping[str, float]
    parts: Mapping[str, float] = dataclasses.field(default_factory=dict)
    note: str = ""


class Evaluated(Protocol):
    """What came of an evaluation; the same in every process."""

    def scores(self) -> Scores:
        """What a run logs of it."""
        ...

    def check(self) -> None:
        """Raises InputError if there was nothing to evaluate."""
        ...

    def of_checkpoint(self, checkpoint: epath.Path) -> "Evaluated":
        """Returns a copy that says from which checkpoint the weights are."""
        ...

    def table(self) -> rich.table.Table:
        """The result as a table, for people."""
        ...

    def to_plain(self) -> dict[str, Any]:
        """The result as plain JSON."""
        ...


class Evaluation(Protocol):
    """A split of a data set, ready to be sent through a network, as often as is wanted.

    Attributes:
        examples: in this process's part of the split.
    """

    examples: int

    def __call__(
        self,
        variables: PyTree,
        *,
        advance: Callable[[int], None] = ...,
        look: Look | None = None,
    ) -> Evaluated:
        """Evaluates the network with its variables.

        Args:
            variables: on all devices.
            advance: told after each batch how many examples it had; what it raises ends the
                evaluation.
            look: is shown each batch with what is predicted for it.
        """
        ...


class Observer(AbstractContextManager, Protocol):
    """What looks at a run, such as to draw it, and changes nothing of it.

    It is called between steps, when all that was done is logged and its saving under way, and must
    not raise: a run does not end for want of a picture. To be entered as a context.
    """

    def first_batch(self, batch: PyTree) -> None:
        """Sees this process's part of the batch of step 1, after that step."""
        ...

    def look(self, batch: Any, predicted: Any) -> None:
        """Sees a batch of an evaluation under way; see `Look`."""
        ...

    def evaluated(self, step: int) -> None:
        """Is told of an evaluation after `step` steps."""
        ...

    def finish(self) -> None:
        """Returns when what was begun is done."""
        ...


class TrainedNetwork(Protocol):
    """A network with its weights, to be called with an image or a list of images.

    Attributes:
        model: the network, in evaluation mode.
        config: of the run.
        source: the file or folder that the weights are from.
    """

    model: nnx.Module
    config: ConfigDict
    source: epath.Path

    def __call__(self, images: Any) -> Any:
        """The result for an image; for a list a list of results."""
        ...


class ShownExamples(Protocol):
    """Picks the examples that are shown of an evaluation while it goes on."""

    def look(self, batch: Any, predicted: Any) -> None:
        """Sees a batch under way; see `Look`."""
        ...

    def write(
        self,
        evaluation: Any,
        config: ConfigDict,
        *,
        picture: epath.Path,
        report: epath.Path,
        command: str,
    ) -> None:
        """Writes a picture of some examples, and a page with all that is known.

        Args:
            evaluation: what came of it.
            config: of the run.
            picture: the PNG.
            report: the page, one HTML file.
            command: how to repeat it.
        """
        ...


class Task(Protocol):
    """A task as functions of a config.

    What the outputs of a network mean, such as the names of its classes, is an object of the task's
    own, here called their meaning. It comes from the data set that a run is trained on, and goes
    into its checkpoints.

    Attributes:
        SCHEMA: of its configs.
        BEST_METRIC: the metric of `Scores` that decides which checkpoint is the best.
        IMAGE_KEYS: the entries of its batches that are images, whose rows may be split over
            devices.
        OUTPUT_WEIGHTS: the entries of state dicts whose shapes depend on the meaning.
    """

    SCHEMA: Schema
    BEST_METRIC: str
    IMAGE_KEYS: Collection[str]
    OUTPUT_WEIGHTS: re.Pattern[str]

    def check_split(self, config: ConfigDict, split: str) -> None:
        """Raises InputError unless a split is there, with something to learn or to compare with."""
        ...

    def meaning(self, config: ConfigDict) -> Any:
        """What the outputs mean of a network that is trained on the config's data set.

        Raises:
            InputError: there is no such data set.
        """
        ...

    def meaning_to_plain(self, meaning: Any) -> dict[str, Any]:
        """The entries of a checkpoint's metadata that say what its outputs mean."""
        ...

    def meaning_from_plain(self, metadata: Mapping[str, Any]) -> Any:
        """The other way round; a KeyError, TypeError or ValueError if it is something else."""
        ...

    def meaning_to_foreign(self, meaning: Any) -> dict[str, Any]:
        """The `meta` of a `.pth` file that says to OpenMMLab's libraries what the outputs mean."""
        ...

    def meaning_from_foreign(self, meta: Mapping[str, Any]) -> Any | None:
        """What the `meta` of a `.pth` file says of its outputs; None if it says nothing."""
        ...

    def meaning_in_words(self, meaning: Any) -> str:
        """What the outputs mean, in one line."""
        ...

    def means_same(self, meaning: Any, other: Any) -> bool:
        """Whether the outputs of two networks are for the same things, in the same order."""
        ...

    def build_model(self, config: ConfigDict, meaning: Any) -> nnx.Module:
        """The network, in evaluation mode, with the weights that the config's seed gives it."""
        ...

    def loss(self, config: ConfigDict) -> LossFunction:
        """The loss of a training batch."""
        ...

    def training_batches(self, config: ConfigDict, shard: InputShard) -> TrainIterator:
        """A process's part of the batches of training, without end.

        Raises:
            InputError: the data set is not there, or nothing can be learnt from it.
        """
        ...

    def batch_shapes(self, config: ConfigDict, mesh: Mesh) -> dict[str, Any]:
        """The shapes of a training batch over all processes.

        Raises:
            InputError: a batch cannot be split over the mesh.
        """
        ...

    def random_batch(
        self, config: ConfigDict, meaning: Any, rng: np.random.Generator, images: int
    ) -> dict[str, Shaped[np.ndarray, "..."]]:
        """A training batch of so many random images, for what needs none of a data set."""
        ...

    def evaluation(
        self,
        config: ConfigDict,
        meaning: Any,
        graphdef: nnx.GraphDef,
        mesh: Mesh,
        *,
        split: str | None = None,
        multi_scale: bool = False,
    ) -> Evaluation:
        """A split made ready to be evaluated, by default the config's.

        Args:
            config: of the run.
            meaning: of the network's outputs.
            graphdef: its structure, from `gcnet_jax.models.split_for_evaluation`.
            mesh: the devices.
            split: name of the split.
            multi_scale: whether to average over several scales.

        Raises:
            InputError: the split is not there, or there is nothing in it to compare with.
        """
        ...

    def shown_examples(
        self, config: ConfigDict, split: str, shard: InputShard, *, multi_scale: bool, count: int
    ) -> ShownExamples:
        """What picks examples of an evaluation to show.

        Args:
            config: of the run.
            split: name of the split.
            shard: the part of each batch that this process has.
            multi_scale: of the evaluation.
            count: how many from all over the split, and how many of the worst.
        """
        ...

    def result_suffixes(self, *, with_scores: bool) -> tuple[list[str], list[str]]:
        """How the names of the results of an image end, and of those of a video.

        There are none of a video where the task makes nothing of one.

        Args:
            with_scores: whether all scores are written too.
        """
        ...

    def predict_files(
        self,
        trained: Any,
        config: ConfigDict,
        photos: Any,
        videos: Any,
        folder: epath.Path,
        options: Any,
    ) -> Any:
        """Predicts what is in image files and videos, and writes what comes of them.

        Args:
            trained: a `gcnet_jax.training.TrainedModel`.
            config: of the run.
            photos: image files, each a `gcnet_jax.tasks.predictions.Photo`.
            videos: likewise; none where `result_suffixes` has none of a video.
            folder: of the results, which is there.
            options: a `gcnet_jax.tasks.predictions.PredictionOptions`.

        Returns:
            A `gcnet_jax.tasks.predictions.Written`.

        Raises:
            InputError: a result cannot be written.
        """
        ...

    def trained(self, pretrained: Any, config: ConfigDict) -> TrainedNetwork:
        """A network that is called with images.

        Args:
            pretrained: the model with its weights, a `gcnet_jax.training.PretrainedModel`.
            config: of the run.
        """
        ...

    def observer(
        self,
        config: ConfigDict,
        meaning: Any,
        workdir: epath.Path,
        shard: InputShard,
        show: ShowPicture,
    ) -> Observer:
        """What draws a run in the first process.

        Args:
            config: of the run.
            meaning: of the network's outputs.
            workdir: of the run.
            shard: the part of each batch that this process has.
            show: shows a picture in the run's log.
        """
        ...

    def import_state_dict(
        self,
        model: nnx.Module,
        state_dict: StateDict,
        *,
        allow_partial: bool = False,
        leave_out: re.Pattern[str] | None = None,
        may_lack: Collection[str] = (),
    ) -> Mismatch:
        """Writes arrays by the names of a foreign library into the network or its backbone.

        See `gcnet_jax.interop.import_state_dict`.
        """
        ...

    def export_state_dict(self, model: nnx.Module) -> dict[str, np.ndarray]:
        """The arrays of the network by the names of a foreign library."""
        ...

    def to_torchvision(self, state_dict: StateDict) -> StateDict:
        """A network's arrays by torchvision's names, given by those of `export_state_dict`.

        Raises:
            InputError: torchvision has no such network.
        """
        ...

    def added_entries(self, backbone: nnx.Module) -> Collection[str]:
        """The names of a backbone's entries that the plain one of its kind has not."""
        ...
