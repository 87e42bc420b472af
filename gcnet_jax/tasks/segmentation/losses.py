"""Losses of pixels by their logits and labels, equal to those of mmsegmentation 1.2.2.

Labels are class indices, or 255 where a pixel is ignored; any other makes a loss NaN. Sums and
ranks are over the whole batch, on however many devices it lies.
"""

import dataclasses
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer
from ml_collections import ConfigDict

from gcnet_jax.errors import InputError
from gcnet_jax.ops import cross_entropy, pixel_cross_entropy

_IGNORED = 255

Logits = Float[Array, "b h w classes"]
Labels = Integer[Array, "b h w"]


@dataclasses.dataclass(frozen=True)
class PixelLoss:
    """The weighted sum of the losses that a config asks for.

    Attributes:
        config: the section `loss`.
        class_weights: of each class, in cross-entropy and focal loss; None: all alike.
    """

    config: ConfigDict
    class_weights: tuple[float, ...] | None = None

    @classmethod
    def from_config(cls, config: ConfigDict, class_pixels: tuple[int, ...] | None = None) -> Self:
        """Returns the loss of a config.

        Args:
            config: the section `loss`.
            class_pixels: how many pixels of each class the data set has; needed for
                `class_weights_from_counts`.
        """
        weights = config.class_weights or None
        if config.class_weights_from_counts:
            assert class_pixels is not None, "no counts to make weights from"
            weights = weights_from_counts(class_pixels)
        return cls(config, weights)

    def __call__(self, logits: Logits, labels: Labels) -> Float[Array, ""]:
        """Returns the loss of a batch.

        Raises:
            InputError: there are more or fewer class weights than classes.
        """
        config, weights, classes = self.config, self.class_weights, logits.shape[-1]
        if weights is not None and len(weights) != classes:
            raise InputError(
                f"loss.class_weights has {len(weights)} numbers; expected {classes}, one for each "
                "class"
            )
        terms = []
        if config.cross_entropy_weight:
            value = self._cross_entropy(logits, labels)
            terms.append(config.cross_entropy_weight * value)
        if config.dice.weight:
            value = dice_loss(
                logits,
                labels,
                use_sigmoid=config.dice.use_sigmoid,
                naive=config.dice.naive,
                epsilon=config.dice.epsilon,
            )
            terms.append(config.dice.weight * value)
        if config.focal.weight:
            gamma, alpha = config.focal.gamma, config.focal.alpha
            value = focal_loss(logits, labels, gamma=gamma, alpha=alpha, class_weights=weights)
            terms.append(config.focal.weight * value)
        return sum(terms[1:], start=terms[0])

    def _cross_entropy(self, logits: Logits, labels: Labels) -> Float[Array, ""]:
        config, weights, mining = self.config, self.class_weights, self.config.hard_pixels
        if weights is None and not config.avg_non_ignore and not mining.min_kept:
            return cross_entropy(logits, labels)
        return weighted_cross_entropy(
            logits,
            labels,
            class_weights=weights,
            avg_non_ignore=config.avg_non_ignore,
            min_kept=mining.min_kept,
            threshold=mining.threshold,
        )


# Cross-entropy -----------------------------------------------------------------------------------


def weighted_cross_entropy(
    logits: Logits,
    labels: Labels,
    *,
    class_weights: tuple[float, ...] | None = None,
    avg_non_ignore: bool = False,
    min_kept: int = 0,
    threshold: float = 0.0,
) -> Float[Array, ""]:
    """Softmax cross-entropy with class weights, of hard pixels alone (`CrossEntropyLoss`).

    The sum is divided by the weights of all pixels, hard or not: with class weights that of the
    pixel's class, else one. An ignored pixel counts as one, or not at all with `avg_non_ignore`.
    (mmsegmentation fails where a pixel is ignored and there are class weights.) The loss is zero
    where nothing counts.

    Args:
        logits: of each pixel.
        labels: of each pixel.
        class_weights: of each class.
        avg_non_ignore: whether ignored pixels are left out of the mean.
        min_kept: see `hard_pixels`; 0: all pixels are kept.
        threshold: see there.
    """
    losses = pixel_cross_entropy(logits, labels)
    labelled = labels != _IGNORED
    weights = jnp.ones(labels.shape, jnp.float32)
    if class_weights is not None:
        own = jnp.where(_one_hot(labels, len(class_weights)), jnp.asarray(class_weights), 0.0)
        weights = jnp.where(labelled, jnp.sum(own, axis=-1), 1.0)
    total = jnp.sum(jnp.where(labelled, weights, 0.0) if avg_non_ignore else weights)
    weighted = losses * weights
    if min_kept:
        probabilities = jnp.exp(-losses)
        hard = hard_pixels(
            probabilities, weighted, labelled, min_kept=min_kept, threshold=threshold
        )
        weighted = jnp.where(hard, weighted, 0.0)
    return jnp.sum(weighted) / jnp.where(total > 0, total, 1.0)


def hard_pixels(
    probabilities: Float[Array, "b h w"],
    losses: Float[Array, "b h w"],
    labelled: Bool[Array, "b h w"],
    *,
    min_kept: int,
    threshold: float = 0.0,
) -> Bool[Array, "b h w"]:
    """The labelled pixels that the network is bad at (`OHEMPixelSampler`).

    With a threshold those to whose class it gives less than that probability; the threshold rises
    until it leaves `min_kept` pixels for each image of the batch, wherever in the batch they are.
    Without, just so many pixels of the greatest losses, and what ties with the last of them.

    mmsegmentation takes the batch of one GPU for the batch.

    Args:
        probabilities: of the class of each pixel, from 0 to 1.
        losses: of each pixel.
        labelled: which pixels are not ignored.
        min_kept: how many pixels of an image to keep at least.
        threshold: a probability; 0 for none.
    """
    # No derivative: a sort's would be computed for nothing.
    probabilities, losses = jax.lax.stop_gradient((probabilities, losses))
    kept, count = min_kept * labelled.shape[0], jnp.sum(labelled)
    if threshold:
        ranked = jnp.sort(jnp.where(labelled, probabilities, jnp.inf), axis=None)
        least = ranked[jnp.clip(jnp.minimum(kept, count - 1), 0)]
        return labelled & (probabilities < jnp.maximum(least, threshold))
    ranked = jnp.sort(jnp.where(labelled, losses, -jnp.inf), axis=None, descending=True)
    return labelled & (losses >= ranked[jnp.clip(jnp.minimum(kept, count) - 1, 0)])


def weights_from_counts(pixels: tuple[int, ...]) -> tuple[float, ...]:
    """Class weights from how many pixels each class has: `1 / log(1.02 + share)`, scaled.

    The rarest classes get up to some 35 times the weight of one that is everywhere. Scaled such
    that the mean over the labelled pixels is one. Source: Paszke et al., "ENet" (2016), 5.2.

    Args:
        pixels: of each class; not all zero.
    """
    shares = np.asarray(pixels, np.float64) / sum(pixels)
    weights = 1 / np.log(1.02 + shares)
    return tuple((weights / (shares @ weights)).tolist())


# Other losses ------------------------------------------------------------------------------------


def dice_loss(
    logits: Logits,
    labels: Labels,
    *,
    use_sigmoid: bool = True,
    naive: bool = False,
    epsilon: float = 1e-3,
) -> Float[Array, ""]:
    """One minus the Dice coefficient of each image, over all its pixels and classes (`DiceLoss`).

    The mean is over the images. What is predicted at ignored pixels counts as wrong, as there.

    Args:
        logits: of each pixel.
        labels: of each pixel.
        use_sigmoid: whether each class has a probability of its own; else their softmax.
        naive: whether the denominator sums probabilities; else their squares.
        epsilon: added to it, so that it is never zero.
    """
    logits, targets = logits.astype(jnp.float32), _targets(logits, labels)
    predicted = jax.nn.sigmoid(logits) if use_sigmoid else jax.nn.softmax(logits, axis=-1)
    axes = (1, 2, 3)
    common = 2 * jnp.sum(predicted * targets, axes)
    if naive:
        both = jnp.sum(predicted, axes) + jnp.sum(targets, axes)
        return jnp.mean(1 - (common + epsilon) / (both + epsilon))
    both = jnp.sum(jnp.square(predicted), axes) + jnp.sum(jnp.square(targets), axes)
    return jnp.mean(1 - common / (both + 2 * epsilon))


def focal_loss(
    logits: Logits,
    labels: Labels,
    *,
    gamma: float = 2.0,
    alpha: float = 0.5,
    class_weights: tuple[float, ...] | None = None,
) -> Float[Array, ""]:
    """Focal loss of each class against the rest (`FocalLoss`, Lin et al., 2017).

    The mean is over all pixels and classes; ignored pixels count in it and add nothing.

    Args:
        logits: of each pixel; of each class its own sigmoid is taken.
        labels: of each pixel.
        gamma: the larger, the less counts what is right already.
        alpha: weight of the class that is there, beside 1 - alpha of those that are not.
        class_weights: of each class.
    """
    targets = _targets(logits, labels)
    right = logits.astype(jnp.float32) * (2 * targets - 1)  # the logit of being right
    # The power by its logarithm: that of zero has no derivative for a gamma below one.
    losses = jnp.exp(gamma * jax.nn.log_sigmoid(-right)) * -jax.nn.log_sigmoid(right)
    losses = losses * (alpha * targets + (1 - alpha) * (1 - targets))
    if class_weights is not None:
        losses = losses * jnp.asarray(class_weights)
    return jnp.mean(jnp.where((labels != _IGNORED)[..., None], losses, 0.0))


def _targets(logits: Logits, labels: Labels) -> Float[Array, "b h w classes"]:
    """One where a pixel has the class, zero elsewhere and where it is ignored; NaN for no class."""
    classes = logits.shape[-1]
    may_be = ((labels >= 0) & (labels < classes)) | (labels == _IGNORED)
    return jnp.where(may_be[..., None], _one_hot(labels, classes), jnp.nan)


def _one_hot(labels: Labels, classes: int) -> Bool[Array, "b h w classes"]:
    return labels[..., None] == jnp.arange(classes)
