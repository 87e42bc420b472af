"""GCNet R101-D8 on Cityscapes: 40k steps of 8 crops of 769x769.

    gcnet train --workdir=runs/gcnet_r101-d8_4xb2-40k_cityscapes-769x769 \\
        --config=configs/gcnet/gcnet_r101-d8_4xb2-40k_cityscapes-769x769.py

Published: 78.95 mIoU, 80.71 at six scales with flips; trained on 4 V100 with 2 images each, 10.5 GB
a GPU, 1.13 images/s in inference.
"""

from configs.common import backbones, cityscapes


def get_config():
    config = cityscapes.get_config()
    config = cityscapes.with_769_crops(config)
    config = backbones.resnet101(config)
    config.published_run = "gcnet_r101-d8_4xb2-40k_cityscapes-769x769"
    config.training.total_steps = 40_000
    return config
