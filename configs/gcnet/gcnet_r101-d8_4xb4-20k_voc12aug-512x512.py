"""GCNet R101-D8 on VOC 2012 + Aug: 20k steps of 16 crops of 512x512.

    gcnet train --workdir=runs/gcnet_r101-d8_4xb4-20k_voc12aug-512x512 \\
        --config=configs/gcnet/gcnet_r101-d8_4xb4-20k_voc12aug-512x512.py

Published: 77.41 mIoU, 78.56 at six scales with flips; trained on 4 V100 with 4 images each, 9.2 GB
a GPU, 14.8 images/s in inference.
"""

from configs.common import backbones, crops_of_512


def get_config():
    config = crops_of_512.voc12aug()
    config = backbones.resnet101(config)
    config.published_run = "gcnet_r101-d8_4xb4-20k_voc12aug-512x512"
    config.training.total_steps = 20_000
    config.training.evaluate_every = 2000
    return config
