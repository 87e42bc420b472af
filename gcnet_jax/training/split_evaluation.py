"""A split of a data set, sent through a network batch by batch and counted."""

import collections
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import PyTree
from ml_collections import ConfigDict

from gcnet_jax.config import architecture, to_plain
from gcnet_jax.parallel import input_shard
from gcnet_jax.task import Counter, Evaluated, Look, Task

_BATCHES_IN_FLIGHT = 2


class SplitEvaluation:
    """A split of a data set, ready to be sent through a network, as often as is wanted.

    Args:
        task: of the run.
        config: of the run.
        meaning: of the network's outputs, and of the data set.
        graphdef: the network's structure, from `gcnet_jax.models.split_for_evaluation`.
        mesh: the devices.
        split: name of the split; by default the config's.
        multi_scale: whether to average over several scales.

    Attributes:
        examples: in this process's part of the split.

    Raises:
        InputError: the split is not there, there is nothing in it to compare with, or no such way
            to evaluate.
    """

    def __init__(
        self,
        task: Task,
        config: ConfigDict,
        meaning: Any,
        graphdef: nnx.GraphDef,
        mesh: Mesh,
        *,
        split: str | None = None,
        multi_scale: bool = False,
    ):
        self._config, self._split = config, split or config.evaluation.split
        self._shard = input_shard(mesh)
        task.check_split(config, self._split)
        data = config.data
        self._images = task.data_sets.split_size(data.name, data.data_dir, self._split)
        self.examples = -(-self._images // self._shard.count)
        self._evaluator = task.evaluator(
            config, meaning, graphdef, mesh, split=self._split, multi_scale=multi_scale
        )

    def __call__(
        self,
        variables: PyTree,
        *,
        advance: Callable[[int], None] = lambda examples: None,
        look: Look | None = None,
    ) -> Evaluated:
        """Sends every example of the split through the network.

        Args:
            variables: of the network, on all devices.
            advance: told after each batch how many examples it had; what it raises ends the
                evaluation.
            look: is shown each batch with what is predicted for it.

        Returns:
            The same in every process.

        Raises:
            InputError: a record is corrupt.
        """
        batches = self._evaluator.batches(self._shard)
        counts = count_batches(self._evaluator, variables, batches, advance=advance, look=look)
        return self._evaluator.evaluated(
            counts,
            dataset=self._config.data.name,
            split=self._split,
            images=self._images,
            inference=self._evaluator.inference,
            settings=evaluation_settings(self._config, self._evaluator.settings),
        )


def count_batches(
    counter: Counter,
    variables: PyTree,
    batches: Iterable[Any],
    *,
    advance: Callable[[int], None] = lambda examples: None,
    look: Look | None = None,
) -> Any:
    """Returns what is counted over batches; arguments as of `SplitEvaluation`.

    A few batches are under way at a time: the host makes the next while devices compute.
    """
    counts, in_flight = counter.start(), collections.deque()
    for batch in batches:
        counts, predicted = counter.add(counts, variables, batch)
        if look is not None:
            look(batch, predicted)
        in_flight.append(predicted)
        if len(in_flight) > _BATCHES_IN_FLIGHT:
            jax.block_until_ready(in_flight.popleft())
        advance(int((batch["index"] >= 0).sum()))
    return counts


def evaluation_settings(config: ConfigDict, own: Mapping[str, Any]) -> dict[str, Any]:
    """What the figures of an evaluation depend on beside weights and data, ready for JSON.

    Args:
        config: of the run.
        own: the task's own settings, see `Evaluator`.
    """
    model = to_plain(config)["model"]
    return {"model": architecture(model), "dtype": model["dtype"], **own}
