"""A backbone, the mean over all positions, and a linear classifier."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from gcnet_jax.errors import InputError
from gcnet_jax.models import ResNet, build_backbone
from gcnet_jax.nn.checks import check_count, check_fraction, check_seed
from gcnet_jax.nn.initialization import Normal, initial_rngs
from gcnet_jax.ops import check_normalized
from gcnet_jax.tasks.classification.config import check_model_config


class Classifier(nnx.Module):
    """Classification of images as torchvision's `ResNet` and mmpretrain's `ImageClassifier` do it.

    Args:
        backbone: the network, whose last stage is read.
        num_classes: channels of the logits.
        dropout_rate: probability of dropping a pooled feature.
        rngs: of the initialisation: N(0, 0.01) for weights, zero for biases.

    Raises:
        InputError: a count below one, or a dropout rate that is not in 0..1 (without 1).
    """

    def __init__(
        self, backbone: ResNet, num_classes: int, *, dropout_rate: float = 0.0, rngs: nnx.Rngs
    ):
        check_count("num_classes", num_classes)
        check_fraction("dropout_rate", dropout_rate, below_one=True)
        self.backbone = backbone
        self.dropout = nnx.Dropout(dropout_rate)
        self.classifier = nnx.Linear(
            backbone.stage_channels[-1], num_classes, kernel_init=Normal(0.01), rngs=rngs
        )

    def __call__(
        self, images: Float[Array, "b h w 3"], *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "b classes"]:
        """The logits of each image, float32.

        Args:
            images: normalised RGB, see `normalize_images`.
            rngs: needed for dropout in training mode.

        Raises:
            InputError: the images are not normalised, or of another shape; or there are no `rngs`
                for dropout in training mode.
        """
        check_normalized(images)
        if rngs is None and not self.dropout.deterministic and self.dropout.rate > 0:
            raise InputError(
                "in training mode dropout needs random numbers: call model.eval() for inference, "
                "or give rngs=nnx.Rngs(dropout=KEY)"
            )
        features = self.backbone(images)[-1].astype(jnp.float32)
        return self.classifier(self.dropout(features.mean((1, 2)), rngs=rngs))


def build_model(config: ConfigDict, *, num_classes: int, seed: int = 0) -> Classifier:
    """Builds the classifier that a config's `model` section describes, with fresh weights.

    It comes in evaluation mode; what trains it calls `model.train()`.

    Args:
        config: the section, as `default_config().model` documents it.
        num_classes: channels of the logits.
        seed: of the random initialisation.

    Raises:
        InputError: a value is not among those allowed.
    """
    check_model_config(config)
    check_count("num_classes", num_classes)
    check_seed(seed)
    rngs = initial_rngs(jax.random.key(seed))
    # A stream of their own, so that with and without blocks all other weights start the same.
    context_rngs = initial_rngs(jax.random.fold_in(jax.random.key(seed), 1))
    backbone = build_backbone(
        config.backbone, dtype=jnp.dtype(config.dtype), rngs=rngs, context_rngs=context_rngs
    )
    model = Classifier(backbone, num_classes, dropout_rate=config.dropout_rate, rngs=rngs)
    model.eval()
    return model
