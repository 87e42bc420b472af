"""Evaluation: images through the network, counted on the device."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Int, Int32, Integer, PyTree, UInt8, UInt32
from ml_collections import ConfigDict

from gcnet_jax.parallel import batch_sharding, replicated, shard_batch
from gcnet_jax.tasks.segmentation.data import EvaluationBatch
from gcnet_jax.tasks.segmentation.evaluation.inference import Inference, Logits, NetworkInference
from gcnet_jax.tasks.segmentation.evaluation.pixel_scores import score_pixels


class Predicted(NamedTuple):
    """What came of each image of a batch, on the devices; see `rows_here`.

    Attributes:
        label: the class of each pixel of its label.
        areas: of each class, in labelled pixels: right, labelled so, predicted so.
    """

    label: UInt8[Array, "b h w"]
    areas: Int32[Array, "b 3 classes"]


Counts = UInt32[Array, "2 classes classes"]
"""Pixels by (label, prediction), with 64 bits, as (low, high) halves."""
Counter = Callable[[Counts, PyTree, Logits, EvaluationBatch], tuple[Counts, Predicted]]


class PixelCounter:
    """Sends batches through a segmentor, and counts pixels by (label, prediction).

    A batch may hold images of several sizes, each of them at several scales; every image counts as
    it would alone. The network is compiled once for each shape of images, and what follows it once
    for each kind of batch. Counts are summed on the devices, over all hosts.

    Args:
        graphdef: the model's structure in evaluation mode, from `split_for_evaluation`.
        num_classes: of the model; pixels labelled outside 0..num_classes-1 are not counted.
        config: the `evaluation` section of the run's config, see `inference_mode`.
        mesh: batches are split over it.
        mirrored_too: whether each image also goes through the network mirrored left to right.

    Raises:
        InputError: see `inference_mode`.
    """

    def __init__(
        self,
        graphdef: nnx.GraphDef,
        num_classes: int,
        config: ConfigDict,
        mesh: Mesh,
        *,
        mirrored_too: bool = False,
    ):
        self._num_classes, self._mesh = num_classes, mesh
        self._inference = NetworkInference(graphdef, config, mirrored_too=mirrored_too, mesh=mesh)
        self._count = create_counter(self._inference, num_classes, mesh)

    def start(self) -> Counts:
        """The counts of no batch."""
        zeros = np.zeros((2, self._num_classes, self._num_classes), np.uint32)
        return jax.device_put(zeros, replicated(self._mesh))

    def add(
        self, counts: Counts, variables: PyTree, batch: EvaluationBatch
    ) -> tuple[Counts, Predicted]:
        """The counts with those of a batch, and what is predicted for it."""
        placed = shard_batch(batch, self._mesh, ("image", "label"))
        logits = self._inference.decode(variables, placed["scaled"])
        return self._count(counts, variables, logits, placed)


def confusion_of(counts: Counts) -> Int[np.ndarray, "classes classes"]:
    """What has been counted, as it is read from the devices."""
    low, high = np.asarray(counts).astype(np.int64)
    return (high << 32) + low


def create_counter(inference: Inference, num_classes: int, mesh: Mesh) -> Counter:
    """Compiles (on first use) what follows the network: from logits to counts of pixels.

    Args:
        inference: that made the logits.
        num_classes: of the model; pixels labelled outside 0..num_classes-1 are not counted.
        mesh: batches are split over it.

    Returns:
        A function from the counts so far, the model's variables, a batch's logits and the batch to
        the counts with those of the batch, and what is predicted for each of its images. Counts
        have 64 bits, as (low, high) halves. Of each image one device has all predictions.
    """

    def add_counts(
        total: Counts, variables: PyTree, logits: Logits, batch: EvaluationBatch
    ) -> tuple[Counts, Predicted]:
        labels = batch["label"]
        size = (labels.shape[1], labels.shape[2])
        views = inference.views(variables, logits, batch["scaled"], batch["label_size"], size)
        predictions = score_pixels(views, lambda scores: jnp.argmax(scores, axis=-1), mesh)
        # Image by image: a millisecond more for a million pixels.
        count = jax.vmap(lambda label, predicted: confusion_matrix(label, predicted, num_classes))
        counts = count(labels, predictions)
        predicted = Predicted(
            label=predictions.astype(jnp.uint8),  # labels have no more classes
            areas=jnp.stack(
                [jnp.diagonal(counts, axis1=1, axis2=2), counts.sum(2), counts.sum(1)], axis=1
            ),
        )
        return _add(total, counts.sum(0)), predicted

    return jax.jit(add_counts, out_shardings=(replicated(mesh), batch_sharding(mesh)))


def _add(
    total: UInt32[Array, "2 *shape"], counts: Int[Array, "*shape"]
) -> UInt32[Array, "2 *shape"]:
    """Adds to counts of 64 bits, kept as (low, high) halves: JAX has 32 bits unless told."""
    low = total[0] + counts.astype(jnp.uint32)
    return jnp.stack([low, total[1] + (low < total[0])])


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
