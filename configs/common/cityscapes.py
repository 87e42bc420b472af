"""Data and schedule of the runs on Cityscapes: 2975 images of 1024x2048, 19 classes, batch 8."""

from gcnet_jax.tasks.segmentation.config import default_config


def get_config():
    config = default_config()  # whose values are those of the 512x1024 runs
    config.data.name = "cityscapes"
    config.training.init_from = "resnet50_v1c"
    return config


def with_769_crops(config):
    """Crops of 769x769, corners aligned, and evaluation in overlapping windows of that size."""
    config.model.align_corners = True
    config.data.base_scale = (2049, 1025)
    config.data.crop_size = (769, 769)
    config.evaluation.mode = "slide"
    config.evaluation.window = (769, 769)
    config.evaluation.window_stride = (513, 513)
    return config
