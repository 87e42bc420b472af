"""Data of the CamVid runs, and what they share in schedule: 360x480 images, 11 classes."""

from gcnet_jax.tasks.segmentation.config import default_config


def get_config():
    config = default_config()
    config.data.name = "camvid"
    config.data.base_scale = (480, 360)
    config.data.crop_size = (360, 480)
    # From scratch on 367 images: a higher rate than the default, which assumes ImageNet weights.
    config.optimizer.learning_rate = 0.05
    return config
