"""GCNet R50-D8 on VOC 2012 + Aug: 40k steps of 16 crops of 512x512.

    gcnet train --workdir=runs/gcnet_r50-d8_4xb4-40k_voc12aug-512x512 \\
        --config=configs/gcnet/gcnet_r50-d8_4xb4-40k_voc12aug-512x512.py

Published: 76.24 mIoU, 77.63 at six scales with flips; trained on 4 V100 with 4 images each.
"""

from configs.common import crops_of_512


def get_config():
    config = crops_of_512.voc12aug()
    config.published_run = "gcnet_r50-d8_4xb4-40k_voc12aug-512x512"
    config.training.total_steps = 40_000
    return config
