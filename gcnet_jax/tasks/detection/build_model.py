"""From a config to a detector."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import DTypeLike
from ml_collections import ConfigDict

from gcnet_jax.models import FeaturePyramid, build_backbone
from gcnet_jax.nn.checks import check_count, check_seed
from gcnet_jax.nn.initialization import initial_rngs
from gcnet_jax.tasks.detection.box_head import BoxHead
from gcnet_jax.tasks.detection.config import check_model_config
from gcnet_jax.tasks.detection.detector import Detector
from gcnet_jax.tasks.detection.mask_head import MaskHead
from gcnet_jax.tasks.detection.rpn_head import RPNHead
from gcnet_jax.tasks.detection.settings import settings_of


def build_model(
    config: ConfigDict, *, num_classes: int, seed: int = 0, reference_padding: bool = False
) -> Detector:
    """Builds the detector that a config's `model` section describes, with fresh weights.

    It comes in evaluation mode; what trains it calls `model.train()`.

    Args:
        config: the section, as `default_config().model` documents it.
        num_classes: classes of objects.
        seed: of the random initialisation.
        reference_padding: see `Detector`.

    Raises:
        InputError: a value is not among those allowed.
    """
    check_model_config(config)
    check_count("num_classes", num_classes)
    check_seed(seed)
    rngs = initial_rngs(jax.random.key(seed))
    # A stream of their own, so that with and without blocks all other weights start the same.
    context_rngs = initial_rngs(jax.random.fold_in(jax.random.key(seed), 1))
    dtype = jnp.dtype(config.dtype)
    backbone = build_backbone(config.backbone, dtype=dtype, rngs=rngs, context_rngs=context_rngs)
    channels = config.neck.channels
    model = Detector(
        backbone,
        FeaturePyramid(backbone.stage_channels, channels, dtype=dtype, rngs=rngs),
        RPNHead(channels, config.rpn.channels, dtype=dtype, rngs=rngs),
        _box_heads(config, num_classes, dtype, rngs),
        _mask_heads(config, num_classes, dtype, rngs),
        settings=settings_of(config),
        reference_padding=reference_padding,
    )
    model.eval()
    return model


def _box_heads(
    config: ConfigDict, num_classes: int, dtype: DTypeLike, rngs: nnx.Rngs
) -> list[BoxHead]:
    head = config.box_head
    return [
        BoxHead(
            config.neck.channels,
            head.channels,
            num_classes,
            class_agnostic=head.class_agnostic,
            dtype=dtype,
            rngs=rngs,
        )
        for _ in head.center_stds
    ]


def _mask_heads(
    config: ConfigDict, num_classes: int, dtype: DTypeLike, rngs: nnx.Rngs
) -> list[MaskHead]:
    head = config.mask_head
    if not head.enabled:
        return []
    return [
        MaskHead(
            config.neck.channels,
            head.channels,
            num_classes,
            convolutions=head.convolutions,
            dtype=dtype,
            rngs=rngs,
        )
        for _ in config.box_head.center_stds
    ]
