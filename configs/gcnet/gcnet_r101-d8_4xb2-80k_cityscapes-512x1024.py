"""GCNet R101-D8 on Cityscapes: 80k steps of 8 crops of 512x1024.

    gcnet train --workdir=runs/gcnet_r101-d8_4xb2-80k_cityscapes-512x1024 \\
        --config=configs/gcnet/gcnet_r101-d8_4xb2-80k_cityscapes-512x1024.py

Published: 79.03 mIoU, 79.84 at six scales with flips; trained on 4 V100 with 2 images each.
"""

from configs.common import backbones, cityscapes


def get_config():
    config = cityscapes.get_config()
    config = backbones.resnet101(config)
    config.published_run = "gcnet_r101-d8_4xb2-80k_cityscapes-512x1024"
    config.training.total_steps = 80_000
    config.training.evaluate_every = 8000
    return config
