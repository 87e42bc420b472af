"""GCNet R50-D8 on Cityscapes: 80k steps of 8 crops of 769x769.

    gcnet train --workdir=runs/gcnet_r50-d8_4xb2-80k_cityscapes-769x769 \\
        --config=configs/gcnet/gcnet_r50-d8_4xb2-80k_cityscapes-769x769.py

Published: 78.68 mIoU, 80.66 at six scales with flips; trained on 4 V100 with 2 images each.
"""

from configs.common import cityscapes


def get_config():
    config = cityscapes.get_config()
    config = cityscapes.with_769_crops(config)
    config.published_run = "gcnet_r50-d8_4xb2-80k_cityscapes-769x769"
    config.training.total_steps = 80_000
    config.training.evaluate_every = 8000
    return config
