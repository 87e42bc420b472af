"""Losses and scores of pixels that have a class each."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer


def cross_entropy(
    logits: Float[Array, "b h w classes"],
    labels: Integer[Array, "b h w"],
    *,
    ignore_label: int = 255,
) -> Float[Array, ""]:
    """Softmax cross-entropy in nats, averaged over all pixels.

    Ignored pixels add nothing to the sum but count in the mean, as in mmsegmentation's
    `CrossEntropyLoss` with `avg_non_ignore=False`. Labels that are no class make it NaN.
    """
    return jnp.mean(pixel_cross_entropy(logits, labels, ignore_label=ignore_label))


def pixel_cross_entropy(
    logits: Float[Array, "b h w classes"],
    labels: Integer[Array, "b h w"],
    *,
    ignore_label: int = 255,
) -> Float[Array, "b h w"]:
    """Softmax cross-entropy of each pixel in nats; 0 where it is ignored, NaN for no class."""
    kept = labels != ignore_label
    logits = logits.astype(jnp.float32)
    # A sum over the classes, of which one counts: to look its logit up would be faster, but its
    # gradient scatters, and all logits are written once more for it.
    classes = jnp.arange(logits.shape[-1])
    label_logits = jnp.sum(jnp.where(labels[..., None] == classes, logits, 0.0), axis=-1)
    is_class = (labels >= 0) & (labels < logits.shape[-1])
    label_logits = jnp.where(is_class, label_logits, jnp.nan)
    per_pixel = jax.nn.logsumexp(logits, axis=-1) - label_logits
    return jnp.where(kept, per_pixel, 0.0)


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
