"""GCNet R50-D8 on Cityscapes: 40k steps of 8 crops of 769x769.

    gcnet train --workdir=runs/gcnet_r50-d8_4xb2-40k_cityscapes-769x769 \\
        --config=configs/gcnet/gcnet_r50-d8_4xb2-40k_cityscapes-769x769.py

Published: 78.12 mIoU, 80.09 at six scales with flips; trained on 4 V100 with 2 images each, 6.5 GB
a GPU, 1.67 images/s in inference.
"""

from configs.common import cityscapes


def get_config():
    config = cityscapes.get_config()
    config = cityscapes.with_769_crops(config)
    config.published_run = "gcnet_r50-d8_4xb2-40k_cityscapes-769x769"
    config.training.total_steps = 40_000
    return config
