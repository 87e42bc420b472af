"""Data and schedule of the runs on ADE20K and on VOC 2012 + Aug: batches of 16 crops of 512x512."""

from gcnet_jax.tasks.segmentation.config import default_config


def ade20k():
    """ADE20K (SceneParse150): 20210 images, 150 classes."""
    return _on("ade20k")


def voc12aug():
    """VOC 2012 with the labels of SBD: 10582 images, 21 classes."""
    return _on("voc12aug")


def _on(name):
    config = default_config()
    config.data.name = name
    config.data.base_scale = (2048, 512)
    config.data.crop_size = (512, 512)
    config.training.batch_size = 16
    config.training.init_from = "resnet50_v1c"
    return config
