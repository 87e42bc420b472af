"""GCNet R101-D8 on Cityscapes: 40k steps of 8 crops of 512x1024.

    gcnet train --workdir=runs/gcnet_r101-d8_4xb2-40k_cityscapes-512x1024 \\
        --config=configs/gcnet/gcnet_r101-d8_4xb2-40k_cityscapes-512x1024.py

Published: 78.28 mIoU, 79.34 at six scales with flips; trained on 4 V100 with 2 images each, 9.2 GB
a GPU, 2.61 images/s in inference.
"""

from configs.common import backbones, cityscapes


def get_config():
    config = cityscapes.get_config()
    config = backbones.resnet101(config)
    config.published_run = "gcnet_r101-d8_4xb2-40k_cityscapes-512x1024"
    config.training.total_steps = 40_000
    return config
