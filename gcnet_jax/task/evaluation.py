"""What a task says of evaluations: how a split goes through a network, and what comes of it."""

import abc
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

import rich.table
from etils import epath
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import PyTree
from ml_collections import ConfigDict

from gcnet_jax.errors import InputError
from gcnet_jax.parallel import InputShard

Look = Callable[[Any, Any], None]
"""Takes this process's part of a batch, and what is predicted for it, which may be under way."""

M = TypeVar("M")


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluated(abc.ABC):
    """What came of an evaluation; the same in every process.

    A task's own class adds what was counted.

    Attributes:
        dataset: name of the data set.
        split: name of the split.
        images: how many it has.
        inference: how the network saw them, in words.
        settings: what figures depend on beside weights and data, as plain JSON.
        checkpoint: the file or folder that the weights are from, if there is one.
    """

    dataset: str
    split: str
    images: int
    inference: str
    settings: Mapping[str, Any]
    checkpoint: epath.Path | None = None

    @property
    @abc.abstractmethod
    def summary(self) -> dict[str, float]:
        """The metrics of the whole set, by name, from 0 to 1."""

    @abc.abstractmethod
    def table(self) -> rich.table.Table:
        """The result as a table, for people."""

    @abc.abstractmethod
    def found(self) -> dict[str, Any]:
        """The task's own part of `to_plain`; the metrics of the whole set are its `summary`."""

    @property
    def title(self) -> str:
        """What was evaluated and how, in one line."""
        return f"{self.dataset} {self.split}, {self.images} images, {self.inference}"

    def scores(self) -> Scores:
        """What a run logs of it."""
        return Scores(self.summary)

    def check(self) -> None:
        """Raises InputError if there was nothing to evaluate."""
        if not self.images:
            raise InputError(f"split '{self.split}' of {self.dataset} has no image")

    def of_checkpoint(self, checkpoint: epath.Path) -> Self:
        """Returns a copy that says from which checkpoint the weights are."""
        return dataclasses.replace(self, checkpoint=checkpoint)

    def to_plain(self) -> dict[str, Any]:
        """All of it as plain JSON."""
        return {
            "dataset": self.dataset,
            "split": self.split,
            "images": self.images,
            "inference": self.inference,
            "settings": dict(self.settings),
            "checkpoint": str(self.checkpoint) if self.checkpoint else None,
            **self.found(),
        }


class Counter(Protocol):
    """Sends batches through a network and counts what comes of them."""

    def start(self) -> Any:
        """The counts of no batch."""
        ...

    def add(self, counts: Any, variables: PyTree, batch: Any) -> tuple[Any, Any]:
        """Sends a batch through the network; waits for no device.

        Args:
            counts: of the batches before.
            variables: of the network, on all devices.
            batch: this process's part of it.

        Returns:
            The counts with those of the batch, and what is predicted for it.
        """
        ...


class Evaluator(abc.ABC, Generic[M]):
    """How a network is evaluated on a split, as often as is wanted: a `Counter`.

    A task's own class says what is counted.

    Args:
        config: of the run.
        meaning: of the network's outputs, and of the data set.
        graphdef: the network's structure, from `gcnet_jax.models.split_for_evaluation`.
        mesh: the devices.
        split: name of the split.
        multi_scale: whether to average over several scales.

    Raises:
        InputError: the task evaluates at one scale alone.
    """

    MULTI_SCALE: ClassVar[bool] = False
    """Whether the task can average over several scales."""

    def __init__(
        self,
        config: ConfigDict,
        meaning: M,
        graphdef: nnx.GraphDef,
        mesh: Mesh,
        *,
        split: str,
        multi_scale: bool = False,
    ):
        if multi_scale and not self.MULTI_SCALE:
            raise InputError(
                f"{config.task} evaluates at one scale; there is no multi-scale evaluation"
            )
        self.config, self.meaning, self.graphdef, self.mesh = config, meaning, graphdef, mesh
        self.split, self.multi_scale = split, multi_scale

    @property
    @abc.abstractmethod
    def inference(self) -> str:
        """How the network sees images, in words."""

    @property
    @abc.abstractmethod
    def settings(self) -> dict[str, Any]:
        """What figures depend on beside weights, network and data, as plain JSON."""

    @abc.abstractmethod
    def batches(self, shard: InputShard) -> Iterator[Any]:
        """Yields a process's part of every batch of the split; all have as many.

        Each batch has the entry `index`: of each example in the split, -1 where an entry only fills
        the batch up.

        Raises:
            InputError: a record is corrupt.
        """

    @abc.abstractmethod
    def start(self) -> Any:
        """The counts of no batch."""

    @abc.abstractmethod
    def add(self, counts: Any, variables: PyTree, batch: Any) -> tuple[Any, Any]:
        """The counts with those of a batch, and what is predicted for it; see `Counter`."""

    @abc.abstractmethod
    def evaluated(self, counts: Any, **about: Any) -> Evaluated:
        """The result of all batches, the same in every process.

        Args:
            counts: of all batches of all processes.
            **about: all attributes of `Evaluated`, to be handed on to it.
        """
