"""GCNet R50-D8 on VOC 2012 + Aug: 20k steps of 16 crops of 512x512.

    gcnet train --workdir=runs/gcnet_r50-d8_4xb4-20k_voc12aug-512x512 \\
        --config=configs/gcnet/gcnet_r50-d8_4xb4-20k_voc12aug-512x512.py

Published: 76.42 mIoU, 77.51 at six scales with flips; trained on 4 V100 with 4 images each, 5.8 GB
a GPU, 23.35 images/s in inference.
"""

from configs.common import crops_of_512


def get_config():
    config = crops_of_512.voc12aug()
    config.published_run = "gcnet_r50-d8_4xb4-20k_voc12aug-512x512"
    config.training.total_steps = 20_000
    config.training.evaluate_every = 2000
    return config
