"""GCNet R101-D8 on ADE20K: 160k steps of 16 crops of 512x512.

    gcnet train --workdir=runs/gcnet_r101-d8_4xb4-160k_ade20k-512x512 \\
        --config=configs/gcnet/gcnet_r101-d8_4xb4-160k_ade20k-512x512.py

Published: 43.69 mIoU, 45.21 at six scales with flips; trained on 4 V100 with 4 images each.
"""

from configs.common import backbones, crops_of_512


def get_config():
    config = crops_of_512.ade20k()
    config = backbones.resnet101(config)
    config.published_run = "gcnet_r101-d8_4xb4-160k_ade20k-512x512"
    config.training.total_steps = 160_000
    config.training.evaluate_every = 16000
    return config
