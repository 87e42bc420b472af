"""Mask R-CNN X101-32x4d-FPN on COCO, 12 epochs.

    gcnet train \\
        --config=coco/mask-rcnn_x101-32x4d_fpn_1x_coco \\
        --workdir=runs/mask-rcnn_x101-32x4d_fpn_1x_coco

Published: 41.9 box AP, 37.5 mask AP; trained on 8 GPUs with 2 images each, 7.6 GB a GPU.
"""

from configs.common import coco_detection


def get_config(schedule="1x"):
    config = coco_detection.mask_rcnn("mask-rcnn_x101-32x4d_fpn_1x_coco", schedule)
    return coco_detection.with_resnext101(config)
