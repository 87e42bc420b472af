"""Backbones of the published runs."""


def resnet101(config):
    """ResNet-101 with its ImageNet weights, in place of ResNet-50."""
    config.model.backbone.depth = 101
    config.training.init_from = "resnet101_v1c"
    return config
