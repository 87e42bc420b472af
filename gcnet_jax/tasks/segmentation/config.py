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
_WEIGHT = Number(0, 10_000)

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

LOSS: Section = {
    "cross_entropy_weight": Leaf(1.0, _WEIGHT, "of it in the loss; 0: none"),
    "class_weights": Leaf(
        (), Several(_WEIGHT, most=255), "of each class in cross-entropy and focal; (): all alike"
    ),
    "class_weights_from_counts": Leaf(
        False, Flag(), "weights made of the label counts of the prepared set"
    ),
    "avg_non_ignore": Leaf(False, Flag(), "leave ignored pixels out of cross-entropy's mean"),
    "hard_pixels": {
        "min_kept": Leaf(
            0, Whole(0), "pixels an image that cross-entropy keeps at least; 0: all of them"
        ),
        "threshold": Leaf(
            0.7, _SHARE, "keep those whose class has a lower probability; 0: min_kept alone"
        ),
    },
    "dice": {
        "weight": Leaf(0.0, _WEIGHT, "in the loss; 0: none"),
        "use_sigmoid": Leaf(True, Flag(), "of each class by itself, in place of a softmax"),
        "naive": Leaf(False, Flag(), "no squares in the denominator"),
        "epsilon": Leaf(1e-3, Number(0, 1, excluded=(0,)), "added to the denominator"),
    },
    "focal": {
        "weight": Leaf(0.0, _WEIGHT, "in the loss; 0: none"),
        "gamma": Leaf(2.0, Number(0, 100), "the larger, the less counts what is right already"),
        "alpha": Leaf(0.5, _SHARE, "of the class that is there, beside 1 - alpha of the others"),
    },
}
"""The section `loss`, by mmsegmentation's names: what each head is trained by."""

_OWN: Section = {
    "model": MODEL,
    "loss": LOSS,
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
    _check_loss(config.loss)


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


def _check_loss(loss: ConfigDict) -> None:
    if not (loss.cross_entropy_weight or loss.dice.weight or loss.focal.weight):
        raise InputError(
            "loss.cross_entropy_weight, loss.dice.weight and loss.focal.weight are all 0; expected "
            "one that is more, to learn from"
        )
    if loss.class_weights and loss.class_weights_from_counts:
        raise InputError(
            f"loss.class_weights is {loss.class_weights}, and loss.class_weights_from_counts makes "
            "others; expected one of the two"
        )
    if loss.class_weights and not any(loss.class_weights):
        raise InputError(
            f"loss.class_weights is {loss.class_weights}; expected one that is more than 0"
        )
    if loss.hard_pixels.min_kept and not loss.cross_entropy_weight:
        raise InputError(
            f"loss.hard_pixels.min_kept is {loss.hard_pixels.min_kept}, and "
            "loss.cross_entropy_weight 0: hard pixels are chosen for cross-entropy alone"
        )


SCHEMA = task_schema("segmentation", _OWN, _check)
"""All that the config of a segmentation run holds."""
