"""Mask R-CNN R50-FPN with global context blocks (ratio 1/16) on COCO, 12 epochs.

    gcnet_jax.tasks.detection.load_detector(
        "mask-rcnn_r50-gcb-r16-c3-c5_fpn_1x_coco"
    )

It cannot be trained from the command line yet.

Published: 39.7 box AP, 35.9 mask AP; trained on 8 GPUs with 2 images each, 5.0 GB a GPU.
"""

from configs.common import coco_detection


def get_config():
    config = coco_detection.mask_rcnn()
    return coco_detection.with_global_context(config, 1 / 16)
