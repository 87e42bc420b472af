"""Mask R-CNN R50-FPN with global context blocks (ratio 1/16) on COCO, 12 epochs.

    gcnet train \\
        --config=coco/mask-rcnn_r50-gcb-r16-c3-c5_fpn_1x_coco \\
        --workdir=runs/mask-rcnn_r50-gcb-r16-c3-c5_fpn_1x_coco

Published: 39.7 box AP, 35.9 mask AP; trained on 8 GPUs with 2 images each, 5.0 GB a GPU.
"""

from configs.common import coco_detection


def get_config(schedule="1x"):
    config = coco_detection.mask_rcnn("mask-rcnn_r50-gcb-r16-c3-c5_fpn_1x_coco", schedule)
    return coco_detection.with_global_context(config, 1 / 16)
