"""Published detectors as narrow as the stored cases have them, with the weights of their names."""

import functools

import numpy as np
from flax import nnx

from gcnet_jax.config import load_config
from gcnet_jax.tasks.detection.build_model import build_model
from gcnet_jax.tasks.detection.config import SCHEMA
from gcnet_jax.tasks.detection.weights import FOREIGN
from tests.conftest import ROOT
from tests.reference import arrays, golden_files

CASES = golden_files.cases("detection/detectors")
EVERY_DAY = (
    "mask-rcnn_r50-gcb-r16-c3-c5_fpn_1x_coco",
    "cascade-mask-rcnn_x101-32x4d-syncbn-dconv-c3-c5-r4-gcb-c3-c5_fpn_1x_coco",
)
"""The cases that are compared on every day: both kinds, and all that a backbone may have."""


def published_config(run):
    """The config of a published run."""
    file = ROOT / "configs" / "coco" / f"{run}.py"
    return load_config(file, schema_of=lambda config: SCHEMA)


def narrow_config(name):
    """The `model` section of a case: its run's, with the channels that the case has."""
    config, width = published_config(name).model, CASES[name]["width"]
    config.backbone.base_channels = width["base_channels"]
    if config.backbone.groups > 1:
        config.backbone.groups = width["resnext_groups"]
        config.backbone.base_width = width["resnext_base_width"]
    config.neck.channels = config.rpn.channels = width["fpn_channels"]
    config.box_head.channels = width["fc_channels"]
    config.mask_head.channels = width["mask_channels"]
    training, test = CASES[name]["train_cfg"], CASES[name]["test_cfg"]
    stages = training["rcnn"] if isinstance(training["rcnn"], list) else [training["rcnn"]]
    for ours, theirs in (
        (config.rpn.train, training["rpn_proposal"]),
        (config.rpn.test, test["rpn"]),
    ):
        ours.nms_pre, ours.max_per_image = theirs["nms_pre"], theirs["max_per_img"]
    config.rpn.train.samples = training["rpn"]["sampler"]["num"]
    config.box_head.train.samples = stages[0]["sampler"]["num"]
    config.test.max_per_image = test["rcnn"]["max_per_img"]
    return config


def state_dict(name):
    """The weights of a case by mmdetection's names."""
    case = CASES[name]
    weights = arrays.state_dict(case["state"])
    for entry, factor in case["init_scale"].items():
        weights[entry] = weights[entry] * np.float32(factor)
    return weights


@functools.cache
def narrow_detector(name, **options):
    """The detector of a case with its weights, in evaluation mode; leave it as it is."""
    config, classes = narrow_config(name), CASES[name]["num_classes"]
    model = nnx.eval_shape(lambda: build_model(config, num_classes=classes, **options))
    FOREIGN.import_state_dict(model, state_dict(name))
    return model


def image(name):
    """The image of a case, padded with zeros, as our networks take it."""
    case = CASES[name]
    height, width = case["image"]["img_shape"]
    padded = np.zeros((1, *case["image"]["padded"], 3), np.float32)
    pixels = arrays.normal(case["input"], (1, 3, height, width))
    padded[:, :height, :width] = np.moveaxis(pixels, 1, -1)
    return padded
