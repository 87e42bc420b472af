"""A detector of a few channels whose weights give scores and boxes that differ."""

import functools

import numpy as np

from gcnet_jax.tasks.detection.build_model import build_model
from gcnet_jax.tasks.detection.config import default_config
from gcnet_jax.tasks.detection.weights import FOREIGN
from tests.reference import arrays

CLASSES = 5
SMALLER = {"neck.fpn_convs": 0.25, "rpn_head.rpn_reg": 0.25, "roi_head.bbox_head.fc_cls": 0.5}
"""What keeps boxes small and scores apart."""


def narrow_config(**backbone):
    """The `model` section of a config: ResNet-18 with context blocks, few proposals."""
    config = default_config().model
    config.backbone.depth, config.backbone.base_channels = 18, 8
    config.backbone.context.block, config.backbone.context.stages = "global_context", (1, 2, 3)
    config.backbone.context.position = "after_conv2"
    config.backbone.context.global_context.ratio = 0.25
    config.backbone.update(backbone)
    config.neck.channels = config.rpn.channels = config.mask_head.channels = 16
    config.box_head.channels, config.mask_head.convolutions = 32, 1
    for part, per_level, count in ((config.rpn.test, 60, 30), (config.rpn.train, 60, 40)):
        part.nms_pre, part.max_per_image = per_level, count
    config.test.max_per_image, config.test.score_threshold = 10, 0.21
    config.box_head.train.samples = 16
    config.rpn.train.samples = 32
    return config


@functools.cache
def narrow_detector(**options):
    """The detector in evaluation mode; leave it as it is."""
    return with_drawn_weights(build_model(narrow_config(), num_classes=CLASSES, **options))


def with_drawn_weights(model):
    """The same detector with weights none of which is zero, as in fresh ones some are.

    A fresh one adds nothing in its residual branches and moves no tap, so that no gradient reaches
    what is inside.
    """
    layout = {name: array.shape for name, array in FOREIGN.export_state_dict(model).items()}
    weights = arrays.state_dict(layout)
    for part, factor in SMALLER.items():
        for name in weights:
            if name.startswith(part) and name.endswith("weight"):
                weights[name] = weights[name] * np.float32(factor)
    FOREIGN.import_state_dict(model, weights)
    return model


def padded_batch(images, canvas):
    """Images at the top left of arrays of one size, with their sizes."""
    batch = np.zeros((len(images), *canvas, 3), np.float32)
    for place, image in zip(batch, images, strict=True):
        place[: image.shape[0], : image.shape[1]] = image
    return batch, np.array([image.shape[:2] for image in images])
