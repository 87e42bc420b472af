"""GCNet R101-D8 on VOC 2012 + Aug: 40k steps of 16 crops of 512x512.

    gcnet train --workdir=runs/gcnet_r101-d8_4xb4-40k_voc12aug-512x512 \\
        --config=configs/gcnet/gcnet_r101-d8_4xb4-40k_voc12aug-512x512.py

Published: 77.84 mIoU, 78.59 at six scales with flips; trained on 4 V100 with 4 images each.
"""

from configs.common import backbones, crops_of_512


def get_config():
    config = crops_of_512.voc12aug()
    config = backbones.resnet101(config)
    config.published_run = "gcnet_r101-d8_4xb4-40k_voc12aug-512x512"
    config.training.total_steps = 40_000
    return config
