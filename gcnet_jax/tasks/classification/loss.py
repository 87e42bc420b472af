"""The loss of a classifier, as the training step takes it."""

import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Int32, UInt8

from gcnet_jax.ops import normalize_images
from gcnet_jax.task import LossFunction, Metrics
from gcnet_jax.tasks.classification.classifier import Classifier


def classification_loss(label_smoothing: float = 0.0) -> LossFunction:
    """Softmax cross-entropy in nats, the mean over a batch of `image` and `label`.

    Args:
        label_smoothing: share of the target that all classes have alike (Szegedy et al.,
            "Rethinking the Inception Architecture", 2016; as PyTorch's `CrossEntropyLoss`).
    """

    def loss(
        model: Classifier,
        batch: dict[str, UInt8[Array, "b h w 3"] | Int32[Array, " b"]],
        rngs: nnx.Rngs,
    ) -> tuple[Float[Array, ""], Metrics]:
        logits = model(normalize_images(batch["image"]), rngs=rngs)
        labels = batch["label"]
        targets = jnp.arange(logits.shape[-1]) == labels[:, None]
        targets = optax.smooth_labels(targets.astype(jnp.float32), label_smoothing)
        losses = optax.softmax_cross_entropy(logits, targets)
        right = jnp.argmax(logits, axis=-1) == labels
        return losses.mean(), {"accuracy": right.mean()}

    return loss
