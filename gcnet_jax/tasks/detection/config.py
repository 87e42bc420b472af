"""The keys of a detection run's config, beside those that all runs have, and their checks.

The defaults are those of Mask R-CNN with ResNet-50 on COCO.
"""

from ml_collections import ConfigDict

from gcnet_jax.config import Leaf, Section, check_section, task_schema
from gcnet_jax.config.networks import CHANNELS, DTYPE, backbone_section, check_stages
from gcnet_jax.config.ranges import Flag, Number, Several, Whole, pair
from gcnet_jax.errors import InputError

BEST_METRIC: str = "box AP"
"""The metric that decides which checkpoint is the best."""

_COUNT = Whole(1, 1 << 20)
_SHARE = Number(0, 1)
_DEVIATIONS = Several(Number(0, 100, excluded=(0,)), least=1, most=10)
_SMOOTH_L1_BETA = Leaf(0.0, Number(0, 100), "of the smooth L1 loss of boxes; 0: L1")


def _proposals(nms_pre: int) -> Section:
    return {
        "nms_pre": Leaf(nms_pre, _COUNT, "proposals of each map before suppression"),
        "max_per_image": Leaf(1000, _COUNT, "proposals of an image after it"),
        "iou_threshold": Leaf(0.7, _SHARE, "one that overlaps a better one by more is dropped"),
    }


MODEL: Section = {
    "dtype": DTYPE,
    "backbone": backbone_section(variant="v1b", output_stride=32),
    "neck": {"channels": Leaf(256, CHANNELS, "of every map of the feature pyramid")},
    "rpn": {
        "channels": Leaf(256, CHANNELS, "of its convolution"),
        "anchor_scale": Leaf(
            8.0, Number(0, 1024, excluded=(0,)), "the side of anchors in strides of their map"
        ),
        "test": _proposals(1000),
        "train": {
            **_proposals(2000),
            "positive_iou": Leaf(0.7, _SHARE, "from which an anchor is of the object it overlaps"),
            "negative_iou": Leaf(0.3, _SHARE, "below which it is of none"),
            "minimum_positive_iou": Leaf(0.3, _SHARE, "of an object's best anchor, to be its own"),
            "samples": Leaf(256, _COUNT, "anchors of an image that the loss is of"),
            "positive_fraction": Leaf(0.5, _SHARE, "of them that are of objects, at most"),
            "allowed_border": Leaf(
                -1, Whole(-1, 1 << 16), "pixels that anchors may stick out of the image; -1: any"
            ),
            "smooth_l1_beta": _SMOOTH_L1_BETA,
        },
    },
    "box_head": {
        "channels": Leaf(1024, CHANNELS, "of its fully connected layers"),
        "class_agnostic": Leaf(False, Flag(), "one box for all classes"),
        "center_stds": Leaf(
            (0.1,), _DEVIATIONS, "of offsets of a box's center, for each stage of a cascade"
        ),
        "size_stds": Leaf((0.2,), _DEVIATIONS, "and of the logarithm of its size"),
        "train": {
            "iou_thresholds": Leaf(
                (0.5,),
                Several(_SHARE, 1, 10),
                "from which a region is of an object, for each stage",
            ),
            "low_quality_matches": Leaf(
                True, Flag(), "an object's best regions are its own, if they reach the threshold"
            ),
            "loss_weights": Leaf((1.0,), Several(Number(0, 10_000), 1, 10), "for each stage"),
            "samples": Leaf(512, _COUNT, "regions of an image that the loss is of"),
            "positive_fraction": Leaf(0.25, _SHARE, "of them that are of objects, at most"),
            "smooth_l1_beta": _SMOOTH_L1_BETA,
        },
    },
    "mask_head": {
        "enabled": Leaf(True, Flag(), "find the masks of objects, not their boxes alone"),
        "channels": Leaf(256, CHANNELS, "of its convolutions"),
        "convolutions": Leaf(4, Whole(1, 100), "of 3x3 before the size is doubled"),
    },
    "test": {
        "score_threshold": Leaf(0.05, _SHARE, "detections have a higher score"),
        "iou_threshold": Leaf(
            0.5, _SHARE, "one that overlaps a better one of its class by more is dropped"
        ),
        "max_per_image": Leaf(100, _COUNT, "detections of an image"),
        "mask_threshold": Leaf(
            0.5, Number(0, 1, excluded=(0,)), "probability from which a pixel is the object's"
        ),
    },
}
"""The section `model`."""

_OWN: Section = {
    "model": MODEL,
    "data": {
        "base_scale": Leaf(
            (1333, 800), pair(Whole(1, 1 << 16)), "(long edge, short edge) that images fit"
        ),
        "train_scales": Leaf(
            (),
            Several(pair(Whole(1, 1 << 16))),
            "such pairs, of which each image in training gets one at random; (): base_scale",
        ),
        "flip_probability": Leaf(0.5, _SHARE, "how often training mirrors left and right"),
        "max_shapes": Leaf(
            2, Whole(1, 64), "shapes of training batches, each compiled once; images are grouped"
        ),
        "max_objects": Leaf(
            0, Whole(0, 1 << 16), "room for so many in a training image; 0: what the set needs"
        ),
        "keep_empty": Leaf(False, Flag(), "whether images without objects are trained on too"),
        "min_size": Leaf(32, Whole(0, 1 << 16), "pixels of both edges of images trained on"),
    },
    "evaluation": {
        "max_buckets": Leaf(4, Whole(1, 64), "sizes that images are padded to, each compiled once"),
    },
}


def default_config() -> ConfigDict:
    """A config of a detection run with every key set."""
    return SCHEMA.default()


def check_model_config(config: ConfigDict) -> None:
    """Raises InputError unless a `model` section has all keys, and values that fit together."""
    check_section(config, MODEL, "the model section of the config", "model.")
    _check_model(config)


def _check(config: ConfigDict) -> None:
    _check_model(config.model)
    if config.parallel.spatial != 1:
        raise InputError(
            f"parallel.spatial is {config.parallel.spatial}; expected 1: detectors see each image "
            "on one device (parallel.fsdp and model.backbone.remat_stages save memory)"
        )


def _check_model(model: ConfigDict) -> None:
    check_stages(model.backbone, {})
    if model.backbone.output_stride != 32:
        raise InputError(
            f"model.backbone.output_stride is {model.backbone.output_stride}; expected 32: each "
            "map of the feature pyramid is half as large as the one before"
        )
    head = model.box_head
    stages = len(head.center_stds)
    for key, values in (
        ("size_stds", head.size_stds),
        ("train.iou_thresholds", head.train.iou_thresholds),
        ("train.loss_weights", head.train.loss_weights),
    ):
        if len(values) != stages:
            raise InputError(
                f"model.box_head.{key} is {values}; expected {stages} values, one for each stage, "
                "as model.box_head.center_stds has"
            )
    if stages > 1 and not head.class_agnostic:
        raise InputError(
            f"model.box_head.class_agnostic is False, and there are {stages} stages; expected "
            "True: the next stage starts from one box of a region"
        )
    train = model.rpn.train
    if train.negative_iou > train.positive_iou:
        raise InputError(
            f"model.rpn.train.negative_iou is {train.negative_iou}; expected no more than "
            f"model.rpn.train.positive_iou, {train.positive_iou}"
        )


SCHEMA = task_schema("detection", _OWN, _check)
"""All that the config of a detection run holds."""
