"""GCNet R50-D8 on Cityscapes: 40k steps of 8 crops of 512x1024.

    gcnet train --workdir=runs/gcnet_r50-d8_4xb2-40k_cityscapes-512x1024 \\
        --config=configs/gcnet/gcnet_r50-d8_4xb2-40k_cityscapes-512x1024.py

Published: 77.69 mIoU, 78.56 at six scales with flips; trained on 4 V100 with 2 images each, 5.8 GB
a GPU, 3.93 images/s in inference.
"""

from configs.common import cityscapes


def get_config():
    config = cityscapes.get_config()
    config.published_run = "gcnet_r50-d8_4xb2-40k_cityscapes-512x1024"
    config.training.total_steps = 40_000
    return config
