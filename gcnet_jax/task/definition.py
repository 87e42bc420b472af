"""What a run needs of a task."""

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PyTree, Shaped, UInt8
from ml_collections import ConfigDict

from gcnet_jax.config import Schema
from gcnet_jax.data import DataSets, TrainIterator, decode_rgb, spread_over
from gcnet_jax.interop import ForeignFormat
from gcnet_jax.parallel import InputShard
from gcnet_jax.task.attention import Attention
from gcnet_jax.task.evaluation import Evaluator
from gcnet_jax.task.exported import Export
from gcnet_jax.task.pictures import MakeObserver, ShowExamples
from gcnet_jax.task.prediction import Prediction

Metrics = dict[str, Float[Array, ""]]
"""Numbers by name."""
LossFunction = Callable[[Any, PyTree, nnx.Rngs], tuple[Float[Array, ""], Metrics]]
"""Takes the model, a batch and random streams to the loss, the mean over the batch, and metrics."""


class Meaning(Protocol):
    """What the outputs of a network mean, such as the names of its classes.

    It comes from the data set that a run is trained on, and goes into its checkpoints.
    """

    def to_metadata(self) -> dict[str, Any]:
        """The entries of a checkpoint's metadata that say it, as plain JSON."""
        ...

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> Self:
        """The meaning in such JSON; KeyError, TypeError or ValueError if it is something else."""
        ...

    def in_words(self) -> str:
        """The same in one line."""
        ...

    def means_same(self, other: Any) -> bool:
        """Whether the outputs of two networks are for the same things, in the same order."""
        ...


M = TypeVar("M", bound=Meaning)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task(Generic[M]):
    """A task, as values and functions of a config: the object `TASK` of the module `task` of its
    folder.

    Attributes:
        schema: of its configs.
        best_metric: the metric of `Evaluated.summary` that decides which checkpoint is the best.
        image_keys: the entries of its batches that are images, whose rows may be split over
            devices.
        meaning: what outputs of its networks mean is of this class.
        data_sets: those that it trains on.
        foreign: how foreign libraries call and lay out the weights.
        build_model: the network of a config with outputs of a meaning, in evaluation mode, with the
            weights that the config's seed gives it.
        loss: the loss of a training batch.
        training_batches: a process's part of the batches of training, without end. It raises
            InputError if the data set is not there, or nothing can be learnt from it.
        random_samples: random examples of a training batch, without the batch axis: one for each
            shape that batches may have, the largest first. They say which shapes these are, and
            take the place of data where none is needed.
        evaluator: how a split is evaluated.
        observer: what draws a run.
        shown_examples: what shows examples of an evaluation.
        attention: how its networks see one image, for maps of their context blocks.
        prediction: how it predicts what is in images.
        export: how its networks become programs, for files that run elsewhere.
    """

    schema: Schema
    best_metric: str
    image_keys: Collection[str] = ("image",)
    meaning: type[M]
    data_sets: DataSets[Any]
    foreign: ForeignFormat[M]
    build_model: Callable[[ConfigDict, M], nnx.Module]
    loss: Callable[[ConfigDict], LossFunction]
    training_batches: Callable[[ConfigDict, InputShard], TrainIterator[Any]]
    random_samples: Callable[
        [ConfigDict, M, np.random.Generator], Sequence[dict[str, Shaped[np.ndarray, "..."]]]
    ]
    evaluator: type[Evaluator[M]]
    observer: MakeObserver[M] | None = None
    shown_examples: ShowExamples | None = None
    attention: Attention | None = None
    prediction: Prediction[M] | None = None
    export: Export | None = None

    def meaning_of_data(self, config: ConfigDict) -> M:
        """What the outputs mean of a network that is trained on the config's data set.

        Raises:
            InputError: there is no such data set.
        """
        return self.data_sets.meaning(config.data.name, config.data.data_dir)

    def with_evaluation_split(self, config: ConfigDict) -> ConfigDict:
        """A config that names the split to evaluate on: if it names none, `val`, or else `test`.

        Raises:
            InputError: it names none, and there is no such data set.
        """
        if config.evaluation.split:
            return config
        there = self.data_sets.split_names(config.data.name, config.data.data_dir)
        config = config.copy_and_resolve_references()
        config.evaluation.split = "test" if "test" in there and "val" not in there else "val"
        return config

    def evaluation_images(
        self, config: ConfigDict, number: int
    ) -> Iterator[tuple[str, UInt8[np.ndarray, "h w 3"]]]:
        """Images from all over the split that a run is evaluated on, read one by one.

        Args:
            config: of the run.
            number: the most images.

        Returns:
            The name of each image for people, and its RGB pixels.

        Raises:
            InputError: the split is not there, or, with its turn, an image cannot be read.
        """
        config = self.with_evaluation_split(config)
        data, split = config.data, config.evaluation.split
        records = self.data_sets.open_split(data.name, data.data_dir, split)
        indices = spread_over(range(len(records)), number)
        names = {index: f"{data.name} {split} {index}" for index in indices}
        return ((name, decode_rgb(records[index]["image"], name)) for index, name in names.items())

    def check_split(self, config: ConfigDict, split: str) -> None:
        """Raises InputError unless a split is there, with something to learn or to compare with."""
        self.data_sets.check_split(config.data.name, config.data.data_dir, split)
