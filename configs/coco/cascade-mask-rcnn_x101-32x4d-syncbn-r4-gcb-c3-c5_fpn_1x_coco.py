"""Cascade Mask R-CNN X101-32x4d-FPN on COCO, 12 epochs.

    gcnet train \\
        --config=coco/cascade-mask-rcnn_x101-32x4d-syncbn-r4-gcb-c3-c5_fpn_1x_coco \\
        --workdir=runs/cascade-mask-rcnn_x101-32x4d-syncbn-r4-gcb-c3-c5_fpn_1x_coco

Published: 46.4 box AP, 40.1 mask AP; trained on 8 GPUs with 2 images each, 10.6 GB a GPU.
"""

from configs.common import coco_detection


def get_config(schedule="1x"):
    config = coco_detection.cascade_mask_rcnn(
        "cascade-mask-rcnn_x101-32x4d-syncbn-r4-gcb-c3-c5_fpn_1x_coco", schedule
    )
    config = coco_detection.with_resnext101(config)
    config = coco_detection.with_batch_statistics(config)
    return coco_detection.with_global_context(config, 1 / 4)
