"""Mask R-CNN X101-32x4d-FPN with batch statistics on COCO, 12 epochs.

    gcnet train \\
        --config=coco/mask-rcnn_x101-32x4d-syncbn_fpn_1x_coco \\
        --workdir=runs/mask-rcnn_x101-32x4d-syncbn_fpn_1x_coco

Published: 42.4 box AP, 37.7 mask AP; trained on 8 GPUs with 2 images each, 7.6 GB a GPU.
"""

from configs.common import coco_detection


def get_config(schedule="1x"):
    config = coco_detection.mask_rcnn("mask-rcnn_x101-32x4d-syncbn_fpn_1x_coco", schedule)
    config = coco_detection.with_resnext101(config)
    return coco_detection.with_batch_statistics(config)
