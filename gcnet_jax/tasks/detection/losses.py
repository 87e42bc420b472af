"""Losses of single predictions, elementwise; whoever calls them weights and averages."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Integer


def binary_cross_entropy(
    logits: Float[Array, "*n"], targets: Float[Array, "*n"]
) -> Float[Array, "*n"]:
    """Cross-entropy in nats of a sigmoid with a probability."""
    return optax.sigmoid_binary_cross_entropy(logits, targets)


def cross_entropy(
    logits: Float[Array, "*n classes"], labels: Integer[Array, "*n"]
) -> Float[Array, "*n"]:
    """Cross-entropy in nats of a softmax over the classes; 0 for labels below 0, as of padding.

    NaN for labels above the last class.
    """
    classes = jnp.arange(logits.shape[-1])
    per_row = optax.softmax_cross_entropy(logits, labels[..., None] == classes)
    return jnp.where(labels < logits.shape[-1], per_row, jnp.nan)


def absolute(predictions: Float[Array, "*n"], targets: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """The absolute difference (L1), with a gradient of 0 where there is none."""
    difference = predictions - targets
    return jnp.sign(difference) * difference  # the gradient of `jnp.abs` at 0 is 1


def smooth_absolute(
    predictions: Float[Array, "*n"], targets: Float[Array, "*n"], *, beta: float
) -> Float[Array, "*n"]:
    """The absolute difference less `beta / 2`, or below `beta` its square over `2 * beta`."""
    difference = predictions - targets
    size = jnp.abs(difference)
    return jnp.where(size < beta, 0.5 * difference * difference / beta, size - 0.5 * beta)


def coordinate_loss(
    predictions: Float[Array, "*n"], targets: Float[Array, "*n"], *, beta: float
) -> Float[Array, "*n"]:
    """The loss of boxes' coordinates: `smooth_absolute`, or `absolute` where `beta` is 0."""
    if beta == 0:
        return absolute(predictions, targets)
    return smooth_absolute(predictions, targets, beta=beta)
