"""How a classifier is evaluated on a split of a data set, and what comes of it."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import rich.table
import rich.text
from flax import nnx
from jaxtyping import Array, Float, Int, Int32, PyTree, UInt8

from gcnet_jax.models import merge
from gcnet_jax.ops import normalize_images
from gcnet_jax.parallel import InputShard, batch_sharding, compile_for, replicated, shard_batch
from gcnet_jax.task import Evaluated, Evaluator, Scores
from gcnet_jax.tasks.classification.data import EvaluationBatch, ImageClasses, evaluation_batches

MOST_LIKELY = 5
"""Classes of an image that are kept of an evaluation, and that the second metric looks at."""
_MOST_ROWS = 100  # of a table

Counts = Int[Array, "classes 3"]
"""Images of each class, how many have it as the likeliest, how many among the likeliest five."""


class Predicted(NamedTuple):
    """What came of each image of a batch, on the devices.

    Attributes:
        classes: the most likely ones, the first first.
        probabilities: of these.
    """

    classes: Int32[Array, "b k"]
    probabilities: Float[Array, "b k"]


@dataclasses.dataclass(frozen=True)
class Evaluation(Evaluated):
    """What came of evaluating a classifier on a split, see `Evaluated`.

    Attributes:
        classes: of the classifier and the data set.
        counts: of each class: images, those whose most likely class is right, and those with the
            right class among the five most likely.
    """

    classes: ImageClasses
    counts: Int[np.ndarray, "classes 3"]

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

    def scores(self) -> Scores:
        """What a run logs of it."""
        return Scores(self.summary, {f"top-1/{k}": value for k, value in self.by_class.items()})

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

    def found(self) -> dict[str, Any]:
        """The metrics and what they are made of, as plain JSON."""
        return {
            "summary": self.summary,
            "classes": {
                name: {"images": int(all_), "top-1": int(first), "top-5": int(five)}
                for name, (all_, first, five) in zip(self.classes.names, self.counts, strict=True)
            },
        }


class ClassificationEvaluator(Evaluator[ImageClasses]):
    """How a classifier is evaluated on a split, see `Evaluator`."""

    @property
    def inference(self) -> str:
        """How the network sees images, in words."""
        return f"{self.config.data.crop_size} of {self.config.data.resize_size} pixels"

    @property
    def settings(self) -> dict[str, Any]:
        """What figures depend on beside weights, network and data."""
        return {key: self.config.data[key] for key in ("crop_size", "resize_size")}

    def batches(self, shard: InputShard) -> Iterator[EvaluationBatch]:
        """Yields a process's part of every batch of the split."""
        of_part = {"shard_index": shard.index, "shard_count": shard.count}
        return evaluation_batches(self.config, self.split, **of_part)

    def start(self) -> Counts:
        """The counts of no batch."""
        zeros = np.zeros((self.meaning.num_classes, 3), np.uint32)
        return jax.device_put(zeros, replicated(self.mesh))

    def add(
        self, counts: Counts, variables: PyTree, batch: EvaluationBatch
    ) -> tuple[Counts, Predicted]:
        """The counts with those of a batch, and what is predicted for it."""
        placed = shard_batch(batch, self.mesh, ("image",))
        return self._count(counts, variables, placed["image"], placed["label"])

    def evaluated(self, counts: Counts, **about: Any) -> Evaluation:
        """The result of all batches."""
        return Evaluation(self.meaning, np.asarray(counts).astype(np.int64), **about)

    @functools.cached_property
    def _count(self) -> Callable[..., tuple[Counts, Predicted]]:
        out = replicated(self.mesh), batch_sharding(self.mesh)
        return compile_for(self.mesh, functools.partial(_counted, self.graphdef), out_shardings=out)


def _counted(
    graphdef: nnx.GraphDef,
    counts: Counts,
    variables: PyTree,
    images: UInt8[Array, "b h w 3"],
    labels: Int32[Array, " b"],
) -> tuple[Counts, Predicted]:
    """The counts with those of a batch.

    A label below zero is of an entry that only fills the batch up. An image is right where no class
    is more likely than its own, and among the most likely where fewer than five are: classes that
    are exactly as likely count as less so, in both metrics alike.
    """
    logits = merge(graphdef, variables)(normalize_images(images))
    own = jnp.take_along_axis(logits, jnp.maximum(labels, 0)[:, None], axis=1)
    rank = (logits > own).sum(-1)
    found = jnp.stack([jnp.ones_like(rank), rank < 1, rank < MOST_LIKELY], axis=-1)
    found = jnp.where((labels >= 0)[:, None], found, 0).astype(counts.dtype)
    likely = jax.lax.top_k(jax.nn.softmax(logits), min(MOST_LIKELY, logits.shape[-1]))
    return counts.at[jnp.maximum(labels, 0)].add(found), Predicted(likely[1], likely[0])


def _cells(counts: Int[np.ndarray, "3"]) -> list[str]:
    all_, first, among_five = counts.tolist()
    return [str(all_), *(f"{100 * n / max(all_, 1):.2f}" for n in (first, among_five))]
