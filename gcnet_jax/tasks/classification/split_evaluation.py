"""A split of a data set, ready to be sent through a classifier and counted."""

import collections
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import rich.table
import rich.text
from etils import epath
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Int32, PyTree
from ml_collections import ConfigDict

from gcnet_jax.config import architecture, to_plain
from gcnet_jax.errors import InputError
from gcnet_jax.models import merge
from gcnet_jax.ops import normalize_images
from gcnet_jax.parallel import batch_sharding, compile_for, input_shard, replicated, shard_batch
from gcnet_jax.task import Look, Scores
from gcnet_jax.tasks.classification.data import (
    ImageClasses,
    check_labels,
    evaluation_batches,
    split_size,
)

MOST_LIKELY = 5
"""Classes of an image that are kept of an evaluation, and that the second metric looks at."""
_MOST_ROWS = 100  # of a table
_BATCHES_IN_FLIGHT = 2


class Predicted(NamedTuple):
    """What came of each image of a batch, on the devices.

    Attributes:
        classes: the most likely ones, the first first.
        probabilities: of these.
    """

    classes: Int32[Array, "b k"]
    probabilities: Float[Array, "b k"]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What came of evaluating a classifier on a split.

    Attributes:
        dataset: name of the data set.
        split: name of the split.
        inference: how the network saw images, in words.
        settings: what figures depend on beside weights and data, as plain JSON.
        classes: of the classifier and the data set.
        counts: of each class: images, those whose most likely class is right, and those with the
            right class among the five most likely.
        checkpoint: the file or folder that the weights are from, if there is one.
    """

    dataset: str
    split: str
    inference: str
    settings: dict[str, Any]
    classes: ImageClasses
    counts: Int[np.ndarray, "classes 3"]
    checkpoint: epath.Path | None = None

    @property
    def images(self) -> int:
        """How many images were classified."""
        return int(self.counts[:, 0].sum())

    @property
    def summary(self) -> dict[str, float]:
        """The shares of images, from 0 to 1, that are right."""
        _, first, among_five = self.counts.sum(0) / max(self.images, 1)
        return {"top-1": float(first), "top-5": float(among_five)}

    @property
    def by_class(self) -> dict[str, float]:
        """The share of right images of each class that occurs, by its name."""
        names = self.classes.names
        return {names[i]: float(n / all_) for i, (all_, n, _) in enumerate(self.counts) if all_}

    @property
    def title(self) -> str:
        """What was evaluated and how, in one line."""
        return f"{self.dataset} {self.split}, {self.images} images, {self.inference}"

    def scores(self) -> Scores:
        """What a run logs of it."""
        return Scores(self.summary, {f"top-1/{k}": value for k, value in self.by_class.items()})

    def check(self) -> None:
        """Raises InputError if there was no image."""
        if not self.images:
            raise InputError(f"split '{self.split}' of {self.dataset} has no image with a class")

    def of_checkpoint(self, checkpoint: epath.Path) -> "Evaluation":
        """Returns a copy that says from which checkpoint the weights are."""
        return dataclasses.replace(self, checkpoint=checkpoint)

    def table(self) -> rich.table.Table:
        """One row a class, the least often right first, and one of all images, in percent."""
        table = rich.table.Table(title=rich.text.Text(self.title))
        table.add_column("class")
        for heading in ("images", "top-1", "top-5"):
            table.add_column(heading, justify="right")
        there = np.flatnonzero(self.counts[:, 0])
        order = there[np.argsort(self.counts[there, 1] / self.counts[there, 0], kind="stable")]
        for index in order[:_MOST_ROWS]:
            table.add_row(rich.text.Text(self.classes.names[index]), *_cells(self.counts[index]))
        if len(order) > _MOST_ROWS:
            table.caption = f"{len(order) - _MOST_ROWS} classes more are in the JSON file"
        table.add_section()
        table.add_row("all", *_cells(self.counts.sum(0)))
        return table

    def to_plain(self) -> dict[str, Any]:
        """All of it as plain JSON."""
        return {
            "dataset": self.dataset,
            "split": self.split,
            "images": self.images,
            "inference": self.inference,
            "settings": self.settings,
            "checkpoint": str(self.checkpoint) if self.checkpoint else None,
            "summary": self.summary,
            "classes": {
                name: {"images": int(all_), "top-1": int(first), "top-5": int(five)}
                for name, (all_, first, five) in zip(self.classes.names, self.counts, strict=True)
            },
        }


class SplitEvaluation:
    """A split of a data set, ready to be sent through a classifier, as often as is wanted.

    Args:
        config: of the run.
        classes: of the classifier and the data set.
        graphdef: the classifier's structure, from `split_for_evaluation`.
        mesh: the devices.
        split: name of the split; by default the config's.

    Attributes:
        examples: images in this process's part of the split.

    Raises:
        InputError: the split is not there, or nothing can be compared with it.
    """

    def __init__(
        self,
        config: ConfigDict,
        classes: ImageClasses,
        graphdef: nnx.GraphDef,
        mesh: Mesh,
        *,
        split: str | None = None,
    ):
        self._config, self._classes, self._mesh = config, classes, mesh
        self._split = split or config.evaluation.split
        self._shard = input_shard(mesh)
        check_labels(config.data.name, config.data.data_dir, self._split)
        images = split_size(config.data.name, config.data.data_dir, self._split)
        self.examples = -(-images // self._shard.count)
        self._count = _create_counter(graphdef, classes.num_classes, mesh)

    def __call__(
        self,
        variables: PyTree,
        *,
        advance: Callable[[int], None] = lambda examples: None,
        look: Look | None = None,
    ) -> Evaluation:
        """Sends every image of the split through the classifier.

        Args:
            variables: of the classifier, on all devices.
            advance: told after each batch how many images it had; what it raises ends the
                evaluation.
            look: is shown each batch with what is predicted for it, a `Predicted`.

        Returns:
            The same in every process.

        Raises:
            InputError: a record is corrupt.
        """
        shape = (self._classes.num_classes, 3)
        total = jax.device_put(np.zeros(shape, np.uint32), replicated(self._mesh))
        in_flight = collections.deque()
        batches = evaluation_batches(
            self._config,
            self._split,
            shard_index=self._shard.index,
            shard_count=self._shard.count,
        )
        for batch in batches:
            placed = shard_batch(batch, self._mesh, ("image",))
            total, predicted = self._count(total, variables, placed["image"], placed["label"])
            if look is not None:
                look(batch, predicted)
            in_flight.append(total)
            if len(in_flight) > _BATCHES_IN_FLIGHT:
                in_flight.popleft().block_until_ready()
            advance(int((batch["index"] >= 0).sum()))
        return Evaluation(
            dataset=self._config.data.name,
            split=self._split,
            inference=f"{self._config.data.crop_size} of {self._config.data.resize_size} pixels",
            settings=evaluation_settings(self._config),
            classes=self._classes,
            counts=np.asarray(total).astype(np.int64),
        )


def evaluation_settings(config: ConfigDict) -> dict[str, Any]:
    """What the figures of an evaluation depend on beside weights and data, ready for JSON."""
    return {
        "model": architecture(to_plain(config)["model"]),
        "crop_size": config.data.crop_size,
        "resize_size": config.data.resize_size,
    }


def _create_counter(graphdef: nnx.GraphDef, num_classes: int, mesh: Mesh) -> Callable[..., Any]:
    """What takes counts and a batch to the counts with those of the batch; compiled on first use.

    A label below zero is of an entry that only fills the batch up. An image is right where no class
    is more likely than its own, and among the most likely where fewer than five are: classes that
    are exactly as likely count as less so, in both metrics alike.
    """

    def count(
        total: Int[Array, "classes 3"],
        variables: PyTree,
        images: Int[Array, "b h w 3"],
        labels: Int32[Array, " b"],
    ) -> tuple[Int[Array, "classes 3"], Predicted]:
        logits = merge(graphdef, variables)(normalize_images(images))
        own = jnp.take_along_axis(logits, jnp.maximum(labels, 0)[:, None], axis=1)
        rank = (logits > own).sum(-1)
        found = jnp.stack([jnp.ones_like(rank), rank < 1, rank < MOST_LIKELY], axis=-1)
        found = jnp.where((labels >= 0)[:, None], found, 0).astype(total.dtype)
        total = total.at[jnp.maximum(labels, 0)].add(found)
        probabilities, classes = jax.lax.top_k(
            jax.nn.softmax(logits), min(MOST_LIKELY, num_classes)
        )
        return total, Predicted(classes, probabilities)

    return compile_for(mesh, count, out_shardings=(replicated(mesh), batch_sharding(mesh)))


def _cells(counts: Int[np.ndarray, "3"]) -> list[str]:
    all_, first, among_five = counts.tolist()
    return [str(all_), *(f"{100 * n / max(all_, 1):.2f}" for n in (first, among_five))]
