"""Cascade Mask R-CNN X101-32x4d-FPN on COCO, 12 epochs.

    gcnet_jax.tasks.detection.load_detector(
        "cascade-mask-rcnn_x101-32x4d_fpn_1x_coco"
    )

It cannot be trained from the command line yet.

Published: 44.3 box AP, 38.3 mask AP; trained on 8 GPUs with 2 images each, 9.2 GB a GPU.
"""

from configs.common import coco_detection


def get_config():
    config = coco_detection.cascade_mask_rcnn()
    return coco_detection.with_resnext101(config)
