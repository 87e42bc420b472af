"""GCNet on half a ResNet-18 at output stride 16, CamVid from scratch: a run for two CPU cores.

    gcnet prepare_dataset camvid --source=CAMVID
    gcnet train --workdir=runs/camvid_small \\
        --config=configs/camvid/gcnet_r18-d16_1xb8-1600_camvid-240x320.py

About half an hour on two cores; docs/results.md has the measured result.
"""

from configs.common import camvid
from gcnet_jax.tasks.segmentation.build_model import model_config


def get_config():
    config = camvid.get_config()
    config.model = model_config("gcnet_r18-d16")
    config.model.backbone.base_channels = 32

    config.data.crop_size = (240, 320)
    config.data.scale_range = (0.5, 1.5)
    config.data.num_workers = 0

    config.training.total_steps = 1600
    config.training.batch_size = 8
    config.training.log_every = 20
    config.training.evaluate_every = 400
    config.training.checkpoint_every = 200

    config.evaluation.batch_size = 4
    return config
