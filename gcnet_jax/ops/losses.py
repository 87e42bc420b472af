"""Losses and pixel scores of semantic segmentation."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Integer


def cross_entropy(
    logits: Float[Array, "b h w classes"],
    labels: Integer[Array, "b h w"],
    *,
    ignore_label: int = 255,
) -> Float[Array, ""]:
    """Softmax cross-entropy in nats, averaged over all pixels.

    Ignored pixels add nothing to the sum but count in the mean, as in mmsegmentation's
    `CrossEntropyLoss` with `avg_non_ignore=False`.
    """
    kept = labels != ignore_label
    per_pixel = optax.softmax_cross_entropy_with_integer_labels(
        logits.astype(jnp.float32), jnp.where(kept, labels, 0).astype(jnp.int32)
    )
    return jnp.mean(jnp.where(kept, per_pixel, 0.0))


def pixel_accuracy(
    logits: Float[Array, "b h w classes"],
    labels: Integer[Array, "b h w"],
    *,
    ignore_label: int = 255,
) -> Float[Array, ""]:
    """Share (0 to 1) of the pixels with a label whose largest logit is at that label."""
    kept = labels != ignore_label
    correct = (jnp.argmax(logits, axis=-1) == labels) & kept
    return jnp.sum(correct) / jnp.maximum(jnp.sum(kept), 1)
