"""Mask R-CNN R101-FPN on COCO, 12 epochs.

    gcnet train \\
        --config=coco/mask-rcnn_r101-syncbn-gcb-r4-c3-c5_fpn_1x_coco \\
        --workdir=runs/mask-rcnn_r101-syncbn-gcb-r4-c3-c5_fpn_1x_coco

Published: 42.2 box AP, 37.8 mask AP; trained on 8 GPUs with 2 images each, 7.8 GB a GPU.
"""

from configs.common import coco_detection


def get_config(schedule="1x"):
    config = coco_detection.mask_rcnn("mask-rcnn_r101-syncbn-gcb-r4-c3-c5_fpn_1x_coco", schedule)
    config = coco_detection.with_resnet101(config)
    config = coco_detection.with_batch_statistics(config)
    return coco_detection.with_global_context(config, 1 / 4)
