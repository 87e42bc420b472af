"""The keys of a classification run's config, beside those that all runs have, and their checks.

The defaults are those of the ResNet-50 of the GCNet papers on ImageNet, as far as they state them.
"""

from ml_collections import ConfigDict

from gcnet_jax.config import Section, check_section, task_schema
from gcnet_jax.config.networks import DROPOUT, DTYPE, backbone_section, check_stages
from gcnet_jax.config.ranges import Number, Whole, pair
from gcnet_jax.config.schema import Leaf
from gcnet_jax.errors import InputError

BEST_METRIC: str = "top-1"
"""The metric that decides which checkpoint is the best."""

_PIXELS = Whole(1, 1 << 14)
_POSITIVE = Number(0, 100, excluded=(0,))

MODEL: Section = {
    "dtype": DTYPE,
    "backbone": backbone_section(variant="v1b", output_stride=32),
    "dropout_rate": Leaf(0.0, DROPOUT, "of the pooled features, before the classifier"),
}
"""The section `model`."""

_OWN: Section = {
    "model": MODEL,
    "data": {
        "crop_size": Leaf(224, _PIXELS, "height and width in pixels, of training and evaluation"),
        "resize_size": Leaf(256, _PIXELS, "the shorter edge before the central crop of evaluation"),
        "scale_range": Leaf(
            (0.08, 1.0), pair(Number(0, 1, excluded=(0,))), "share of an image that a crop covers"
        ),
        "ratio_range": Leaf((3 / 4, 4 / 3), pair(_POSITIVE), "width by height of that crop"),
        "flip_probability": Leaf(
            0.5, Number(0, 1), "how often an image is mirrored, left to right"
        ),
    },
    "training": {
        "label_smoothing": Leaf(
            0.0, Number(0, 1, excluded=(1,)), "share of the target that all classes have alike"
        ),
    },
}


def default_config() -> ConfigDict:
    """A config of a classification run with every key set."""
    return SCHEMA.default()


def check_model_config(config: ConfigDict) -> None:
    """Raises InputError unless a `model` section has all keys, and values that fit together."""
    check_section(config, MODEL, "the model section of the config", "model.")
    check_stages(config.backbone, {})


def _check(config: ConfigDict) -> None:
    check_stages(config.model.backbone, {})
    for key in ("scale_range", "ratio_range"):
        least, most = config.data[key]
        if least > most:
            raise InputError(
                f"data.{key} is {config.data[key]}; expected the least first, then the greatest"
            )
    if config.data.resize_size < config.data.crop_size:
        raise InputError(
            f"data.resize_size is {config.data.resize_size}; expected no less than data.crop_size, "
            f"{config.data.crop_size}, which is cut out of it"
        )


SCHEMA = task_schema("classification", _OWN, _check)
"""All that the config of a classification run holds."""
