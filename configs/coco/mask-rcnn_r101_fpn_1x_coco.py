"""Mask R-CNN R101-FPN on COCO, 12 epochs.

    gcnet train \\
        --config=coco/mask-rcnn_r101_fpn_1x_coco \\
        --workdir=runs/mask-rcnn_r101_fpn_1x_coco

Published: 40.0 box AP, 36.1 mask AP; trained on 8 GPUs with 2 images each, 6.4 GB a GPU.
"""

from configs.common import coco_detection


def get_config(schedule="1x"):
    config = coco_detection.mask_rcnn("mask-rcnn_r101_fpn_1x_coco", schedule)
    return coco_detection.with_resnet101(config)
