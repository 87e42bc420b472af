"""Cascade Mask R-CNN X101-32x4d-FPN with batch statistics on COCO, 12 epochs.

    gcnet train \\
        --config=coco/cascade-mask-rcnn_x101-32x4d-syncbn_fpn_1x_coco \\
        --workdir=runs/cascade-mask-rcnn_x101-32x4d-syncbn_fpn_1x_coco

Published: 44.7 box AP, 38.6 mask AP; trained on 8 GPUs with 2 images each, 9.2 GB a GPU.
"""

from configs.common import coco_detection


def get_config(schedule="1x"):
    config = coco_detection.cascade_mask_rcnn(
        "cascade-mask-rcnn_x101-32x4d-syncbn_fpn_1x_coco", schedule
    )
    config = coco_detection.with_resnext101(config)
    return coco_detection.with_batch_statistics(config)
