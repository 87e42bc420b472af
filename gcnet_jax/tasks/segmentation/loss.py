"""The segmentation loss, as the training step takes it."""

from collections.abc import Callable

import jax
from flax import nnx
from jaxtyping import Array, Float, Integer, UInt8

from gcnet_jax.ops import cross_entropy, normalize_images, pixel_accuracy
from gcnet_jax.task import LossFunction, Metrics
from gcnet_jax.tasks.segmentation.segmentor import HeadLogits, Segmentor

LossOfPixels = Callable[[Float[Array, "b h w classes"], UInt8[Array, "b h w"]], Float[Array, ""]]
"""Takes logits and labels of a batch to the loss."""


def segmentation_loss(
    auxiliary_weight: float = 0.4, of_pixels: LossOfPixels = cross_entropy
) -> LossFunction:
    """The loss of the decode head plus the weighted one of the auxiliary head.

    The batch holds `image` (uint8 RGB), `label` (uint8, 255 ignored) and `size` (height and width
    of the image proper, at the top left). Logits are resized to the labels before the loss.
    """

    def loss(
        model: Segmentor,
        batch: dict[str, UInt8[Array, "b h w ..."] | Integer[Array, "b 2"]],
        rngs: nnx.Rngs,
    ) -> tuple[Float[Array, ""], Metrics]:
        images = normalize_images(batch["image"], batch["size"])
        labels = batch["label"]
        logits = model.head_logits(images, rngs=rngs)
        size = (labels.shape[1], labels.shape[2])
        resized = jax.tree.map(lambda x: model.resize(x, size), logits)
        return head_losses(resized, labels, auxiliary_weight=auxiliary_weight, of_pixels=of_pixels)

    return loss


def head_losses(
    logits: HeadLogits,
    labels: UInt8[Array, "b h w"],
    *,
    auxiliary_weight: float = 0.4,
    of_pixels: LossOfPixels = cross_entropy,
) -> tuple[Float[Array, ""], Metrics]:
    """The loss from the heads' logits at the size of the labels, and what each head contributes.

    `auxiliary_loss` among the metrics is without its weight.
    """
    decode, auxiliary = logits
    total = decode_loss = of_pixels(decode, labels)
    metrics = {"decode_loss": decode_loss, "pixel_accuracy": pixel_accuracy(decode, labels)}
    if auxiliary is not None:
        metrics["auxiliary_loss"] = of_pixels(auxiliary, labels)
        metrics["auxiliary_pixel_accuracy"] = pixel_accuracy(auxiliary, labels)
        total = total + auxiliary_weight * metrics["auxiliary_loss"]
    return total, metrics
