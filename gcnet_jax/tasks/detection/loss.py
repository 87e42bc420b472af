"""The loss of a detector, as the training step takes it."""

from flax import nnx
from jaxtyping import Array, Float, PyTree

from gcnet_jax.ops import normalize_images
from gcnet_jax.task import LossFunction, Metrics
from gcnet_jax.tasks.detection.detector import Detector
from gcnet_jax.tasks.detection.detector_losses import detector_losses
from gcnet_jax.tasks.detection.objects import Objects


def detection_loss() -> LossFunction:
    """The sum of a detector's losses over a batch, with each of them among the metrics."""

    def loss(
        model: Detector, batch: dict[str, PyTree], rngs: nnx.Rngs
    ) -> tuple[Float[Array, ""], Metrics]:
        sizes = batch["size"]
        objects = Objects(batch["boxes"], batch["classes"], batch["valid"], batch.get("masks"))
        metrics, _ = detector_losses(
            model, normalize_images(batch["image"], sizes), sizes, objects, rngs
        )
        losses = [value for name, value in metrics.items() if name.endswith("loss")]
        return sum(losses[1:], losses[0]), metrics

    return loss
