"""From a name or a config to a segmentor."""

import re

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from gcnet_jax.errors import InputError
from gcnet_jax.models import build_backbone, context_block_maker
from gcnet_jax.nn.checks import check_choice, check_count, check_seed
from gcnet_jax.nn.initialization import initial_rngs
from gcnet_jax.tasks.segmentation.config import check_model_config, default_config
from gcnet_jax.tasks.segmentation.heads import FCNHead
from gcnet_jax.tasks.segmentation.segmentor import Segmentor

_NAME = re.compile(r"(?P<head>gcnet|fcn)_r(?P<depth>\d+)(?P<variant>v1[bcd])?-d(?P<stride>\d+)")


def create_model(
    name: str, *, num_classes: int, seed: int = 0, dtype: str = "float32"
) -> Segmentor:
    """A segmentor by the name of its architecture, with fresh weights, ready to call.

    It is in evaluation mode; `model.train()` changes that, as every NNX module.

    Args:
        name: `<head>_r<depth>[variant]-d<output stride>`, such as `gcnet_r50-d8`, `fcn_r101-d8` or
            `gcnet_r18v1b-d16`. Head `gcnet` has a global context block, `fcn` none; depth is 18,
            34, 50 or 101; variant is `v1b`, `v1c` (the default) or `v1d`; stride is 8, 16 or 32.
        num_classes: channels of the logits.
        seed: of the random initialisation.
        dtype: of the computation, `float32` or `bfloat16`; parameters are float32.

    Raises:
        InputError: the name does not parse, asks for what is not there, or another value is not
            among those allowed.
    """
    config = model_config(name)
    check_choice("dtype", dtype, ("float32", "bfloat16"))
    config.dtype = dtype
    return build_model(config, num_classes=num_classes, seed=seed)


def model_config(name: str) -> ConfigDict:
    """The `model` section of a config for an architecture, named as in `create_model`."""
    match = _NAME.fullmatch(name) if isinstance(name, str) else None
    if match is None:
        raise InputError(
            f"model name {name!r} does not read as <head>_r<depth>[variant]-d<output stride>, "
            "for example gcnet_r50-d8 or fcn_r101v1b-d16"
        )
    config = default_config().model
    depth = int(match["depth"])
    config.backbone.depth = depth
    config.backbone.variant = match["variant"] or "v1c"
    config.backbone.output_stride = int(match["stride"])
    if depth < 50:
        # Basic blocks do not expand their channels: the heads are narrower by the same factor.
        config.decode_head.channels //= 4
        config.auxiliary_head.channels //= 4
    if match["head"] == "fcn":
        config.decode_head.context.block = ""
    return config


def build_model(config: ConfigDict, *, num_classes: int, seed: int = 0) -> Segmentor:
    """Builds the model that a config's `model` section describes, with fresh weights.

    It comes in evaluation mode; what trains it calls `model.train()`.

    Args:
        config: the section, as `default_config().model` documents it.
        num_classes: channels of the logits.
        seed: of the random initialisation.

    Raises:
        InputError: a value is not among those allowed, or a head reads a stage that is not built.
    """
    check_model_config(config)
    check_count("num_classes", num_classes)
    check_seed(seed)
    rngs = initial_rngs(jax.random.key(seed))
    # A stream of their own, so that with and without blocks all other weights start the same.
    context_rngs = initial_rngs(jax.random.fold_in(jax.random.key(seed), 1))
    dtype = jnp.dtype(config.dtype)
    backbone = build_backbone(config.backbone, dtype=dtype, rngs=rngs, context_rngs=context_rngs)
    decode = config.decode_head
    head_context = context_block_maker(
        decode.context, "model.decode_head.context", dtype, context_rngs
    )
    head = FCNHead(
        backbone.stage_channels[decode.stage],
        decode.channels,
        num_classes,
        num_convs=decode.num_convs,
        concat_input=decode.concat_input,
        dropout_rate=decode.dropout_rate,
        context=head_context(decode.channels) if head_context else None,
        dtype=dtype,
        rngs=rngs,
    )
    auxiliary, auxiliary_head = config.auxiliary_head, None
    if auxiliary.enabled:
        auxiliary_head = FCNHead(
            backbone.stage_channels[auxiliary.stage],
            auxiliary.channels,
            num_classes,
            num_convs=1,
            concat_input=False,
            dropout_rate=auxiliary.dropout_rate,
            dtype=dtype,
            rngs=rngs,
        )
    model = Segmentor(
        backbone,
        head,
        decode_stage=decode.stage,
        auxiliary_head=auxiliary_head,
        auxiliary_stage=auxiliary.stage,
        align_corners=config.align_corners,
    )
    model.eval()
    return model
