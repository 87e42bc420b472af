"""The segmentation loss, as the training step takes it."""

from flax import nnx
from jaxtyping import Array, Float, Integer, UInt8

from gcnet_jax.models import Segmentor
from gcnet_jax.ops import cross_entropy, normalize_images, pixel_accuracy
from gcnet_jax.training.step import LossFunction, Metrics


def segmentation_loss(auxiliary_weight: float = 0.4) -> LossFunction:
    """Cross-entropy of the decode head plus the weighted one of the auxiliary head.

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
        size = (labels.shape[1], labels.shape[2])
        logits = model.head_logits(images, rngs=rngs)

        decode = model.resize(logits.decode, size)
        total = decode_loss = cross_entropy(decode, labels)
        metrics = {"decode_loss": decode_loss, "pixel_accuracy": pixel_accuracy(decode, labels)}
        if logits.auxiliary is not None:
            auxiliary_loss = cross_entropy(model.resize(logits.auxiliary, size), labels)
            metrics["auxiliary_loss"] = auxiliary_loss
            total = total + auxiliary_weight * auxiliary_loss
        return total, metrics

    return loss
