"""Mask R-CNN R101-FPN with batch statistics on COCO, 12 epochs.

    gcnet train \\
        --config=coco/mask-rcnn_r101-syncbn_fpn_1x_coco \\
        --workdir=runs/mask-rcnn_r101-syncbn_fpn_1x_coco

Published: 40.5 box AP, 36.3 mask AP; trained on 8 GPUs with 2 images each, 6.4 GB a GPU.
"""

from configs.common import coco_detection


def get_config(schedule="1x"):
    config = coco_detection.mask_rcnn("mask-rcnn_r101-syncbn_fpn_1x_coco", schedule)
    config = coco_detection.with_resnet101(config)
    return coco_detection.with_batch_statistics(config)
