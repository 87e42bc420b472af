"""GCNet R50-D8 on CamVid from scratch: the full configuration, made for one GPU of 24 GB or more.

    gcnet prepare_dataset camvid --source=CAMVID
    gcnet train --workdir=runs/camvid \\
        --config=configs/camvid/gcnet_r50-d8_1xb16-16k_camvid-360x480.py

To beat: 66.9 mIoU on the test split, FC-DenseNet103 from scratch.
"""

from configs.common import camvid


def get_config():
    config = camvid.get_config()
    config.model.dtype = "bfloat16"
    config.data.num_workers = 8

    config.training.total_steps = 16_000
    config.training.batch_size = 16
    config.training.log_every = 50
    config.training.evaluate_every = 1000
    config.training.checkpoint_every = 500

    config.evaluation.batch_size = 16
    return config
