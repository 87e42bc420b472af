"""Data and schedule of the runs on VOC 2012 + Aug: 10582 images, 21 classes, batch 16."""

from gcnet_jax.config import default_config


def get_config():
    config = default_config()
    config.data.name = "voc12aug"
    config.data.base_scale = (2048, 512)
    config.data.crop_size = (512, 512)
    config.training.batch_size = 16
    config.training.init_from = "resnet50_v1c"
    return config
