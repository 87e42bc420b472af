"""The keys of a segmentation run's config, beside those that all runs have, and their checks."""

from ml_collections import ConfigDict

from gcnet_jax.config import Leaf, Section, check_section, task_schema
from gcnet_jax.config.networks import (
    CHANNELS,
    DROPOUT,
    DTYPE,
    STAGE,
    backbone_section,
    check_stages,
    context_section,
)
from gcnet_jax.config.ranges import Flag, Number, OneOf, Several, Whole, pair
from gcnet_jax.errors import InputError

BEST_METRIC: str = "mIoU"
"""The metric that decides which checkpoint is the best."""
_COUNT = Whole(1)
_PIXELS = Whole(1, 1 << 16)
_SHARE = Number(0, 1)

MODEL: Section = {
    "dtype": DTYPE,
    "align_corners": Leaf(
        False, Flag(), "in resizing logits; true for the published runs of crop 769x769"
    ),
    "backbone": backbone_section(variant="v1c", output_stride=8),
    "decode_head": {
        "stage": Leaf(3, STAGE, "of the backbone, counted from 0"),
        "channels": Leaf(512, CHANNELS, "of its convolutions"),
        "num_convs": Leaf(2, Whole(1, 100), "3x3 convolutions before the classifier"),
        "concat_input": Leaf(True, Flag(), "fuse input and result by one convolution more"),
        "dropout_rate": Leaf(0.1, DROPOUT, "of whole channels, before the classifier"),
        "context": context_section("global_context", ratio=1 / 4),
    },
    "auxiliary_head": {
        "enabled": Leaf(True, Flag(), "train with a second, plain head"),
        "stage": Leaf(2, STAGE, "of the backbone, counted from 0"),
        "channels": Leaf(256, CHANNELS, "of its convolution"),
        "dropout_rate": Leaf(0.1, DROPOUT, "of whole channels, before the classifier"),
    },
}
"""The section `model`."""

_OWN: Section = {
    "model": MODEL,
    "data": {
        "base_scale": Leaf((2048, 1024), pair(_PIXELS), "(long edge, short edge) at ratio 1"),
        "scale_range": Leaf(
            (0.5, 2.0), pair(Number(0, 100, excluded=(0,))), "of that ratio, drawn for each image"
        ),
        "crop_size": Leaf((512, 1024), pair(_PIXELS), "(height, width) to train on"),
        "cat_max_ratio": Leaf(
            0.75, Number(0, 1, excluded=(0,)), "no class may cover more of a crop than this"
        ),
        "flip_probability": Leaf(0.5, _SHARE, "how often an image is mirrored, left to right"),
        "photometric_distortion": Leaf(True, Flag(), "change brightness, contrast and colours"),
    },
    "training": {
        "auxiliary_loss_weight": Leaf(0.4, Number(0, 100), "of the auxiliary head, beside 1"),
    },
    "evaluation": {
        "mode": Leaf("whole", OneOf("whole", "slide"), "image at a time, or windows over it"),
        "window": Leaf((769, 769), pair(_PIXELS), "(height, width) in pixels, of mode slide"),
        "window_stride": Leaf((513, 513), pair(_PIXELS), "from one window to the next"),
        "windows_at_once": Leaf(8, Whole(0), "of each image; 0: all of them"),
        "max_buckets": Leaf(4, _COUNT, "sizes that images are padded to, each compiled once"),
        "scales": Leaf(
            (0.5, 0.75, 1.0, 1.25, 1.5, 1.75),
            Several(Number(0, 100, excluded=(0,)), least=1),
            "of multi-scale evaluation",
        ),
    },
}


def default_config() -> ConfigDict:
    """A config of a segmentation run with every key set, to those of the published runs."""
    return SCHEMA.default()


def check_model_config(config: ConfigDict) -> None:
    """Raises InputError unless a `model` section has all keys, and values that fit together."""
    check_section(config, MODEL, "the model section of the config", "model.")
    _check_stages(config)


def _check(config: ConfigDict) -> None:
    _check_stages(config.model)
    _check_scales(config.data)
    _check_windows(config.evaluation)


def _check_stages(model: ConfigDict) -> None:
    used = {"decode_head.stage": (model.decode_head.stage,)}
    if model.auxiliary_head.enabled:
        used["auxiliary_head.stage"] = (model.auxiliary_head.stage,)
    check_stages(model.backbone, used)


def _check_scales(data: ConfigDict) -> None:
    least, most = data.scale_range
    if least > most:
        raise InputError(
            f"data.scale_range is {data.scale_range}; expected the least ratio first, then the "
            "greatest"
        )
    if min(data.base_scale) * least < 1:
        raise InputError(
            f"data.scale_range starts at {least}, which leaves less than a pixel of "
            f"data.base_scale, {data.base_scale}"
        )


def _check_windows(evaluation: ConfigDict) -> None:
    window, stride = evaluation.window, evaluation.window_stride
    if any(step > extent for step, extent in zip(stride, window, strict=True)):
        raise InputError(
            f"evaluation.window_stride is {stride}; expected at most the window, {window}: a "
            "larger one would leave gaps"
        )


SCHEMA = task_schema("segmentation", _OWN, _check)
"""All that the config of a segmentation run holds."""
