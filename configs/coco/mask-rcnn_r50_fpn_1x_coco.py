"""Mask R-CNN R50-FPN on COCO, 12 epochs.

    gcnet train \\
        --config=coco/mask-rcnn_r50_fpn_1x_coco \\
        --workdir=runs/mask-rcnn_r50_fpn_1x_coco

Published: 38.2 box AP, 34.7 mask AP; trained on 8 GPUs with 2 images each, 4.4 GB a GPU.
"""

from configs.common import coco_detection


def get_config(schedule="1x"):
    return coco_detection.mask_rcnn("mask-rcnn_r50_fpn_1x_coco", schedule)
