"""Mask R-CNN R101-FPN on COCO, 12 epochs.

    gcnet_jax.tasks.detection.load_detector(
        "mask-rcnn_r101_fpn_1x_coco"
    )

It cannot be trained from the command line yet.

Published: 40.0 box AP, 36.1 mask AP; trained on 8 GPUs with 2 images each, 6.4 GB a GPU.
"""

from configs.common import coco_detection


def get_config():
    config = coco_detection.mask_rcnn()
    return coco_detection.with_resnet101(config)
