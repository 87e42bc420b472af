"""Evaluation: every image of a set through the network once, counted on the device."""

import collections
from collections.abc import Callable, Iterable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Int, Integer, PyTree
from ml_collections import ConfigDict

from gcnet_jax.data import Sample
from gcnet_jax.evaluation.inference import Predictor, infer
from gcnet_jax.models import merge
from gcnet_jax.ops import normalize_images
from gcnet_jax.parallel import batch_sharding, replicated, shard_batch

Batches = Iterable[Mapping[str, object]]  # see `gcnet_jax.data.Batch`
Evaluator = Callable[[PyTree, Batches], Int[np.ndarray, "classes classes"]]

_BATCHES_IN_FLIGHT = 2


def create_evaluator(
    graphdef: nnx.GraphDef, num_classes: int, config: ConfigDict, mesh: Mesh
) -> Evaluator:
    """A function from the model's variables and batches to the confusion matrix over all of them.

    One program is compiled for each shape of batch. A batch is counted on the device in 32 bits and
    summed on the host in 64, while the next one is under way.

    Args:
        graphdef: the model's structure in evaluation mode, from `split_for_evaluation`.
        num_classes: of the model; pixels labelled outside 0..num_classes-1 are not counted.
        config: the `evaluation` section of the run's config, see `infer`.
        mesh: batches are split over it.
    """

    def count(variables: PyTree, batch: PyTree) -> Int[Array, "classes classes"]:
        images = normalize_images(batch["image"], batch["size"])
        logits = infer(merge(graphdef, variables), images, config)
        return confusion_matrix(batch["label"], jnp.argmax(logits, axis=-1), num_classes)

    count = jax.jit(
        count,
        in_shardings=(replicated(mesh), batch_sharding(mesh)),
        out_shardings=replicated(mesh),
    )

    def evaluate(variables: PyTree, batches: Batches) -> Int[np.ndarray, "classes classes"]:
        total = np.zeros((num_classes, num_classes), np.int64)
        in_flight = collections.deque()
        for batch in batches:
            in_flight.append(count(variables, shard_batch(dict(batch), mesh)))
            if len(in_flight) > _BATCHES_IN_FLIGHT:
                total += np.asarray(in_flight.popleft())
        for counts in in_flight:
            total += np.asarray(counts)
        return total

    return evaluate


def evaluate_singly(
    predict: Predictor, samples: Iterable[Sample], num_classes: int
) -> Int[np.ndarray, "classes classes"]:
    """The confusion matrix over samples that go through a predictor one by one."""
    total = np.zeros((num_classes, num_classes), np.int64)
    for sample in samples:
        prediction = np.argmax(predict(sample["image"]), axis=-1)
        total += np.asarray(confusion_matrix(sample["label"], prediction, num_classes))
    return total


def confusion_matrix(
    labels: Integer[Array | np.ndarray, "*shape"],
    predictions: Integer[Array | np.ndarray, "*shape"],
    num_classes: int,
) -> Int[Array, "classes classes"]:
    """Pixel counts by (label, prediction); labels outside 0..num_classes-1 are left out."""
    counted = (labels >= 0) & (labels < num_classes)
    cell = labels.astype(jnp.int32) * num_classes + predictions.astype(jnp.int32)
    cell = jnp.where(counted, cell, num_classes**2)
    counts = jnp.bincount(cell.ravel(), length=num_classes**2 + 1)
    return counts[:-1].reshape(num_classes, num_classes).astype(jnp.int32)
