"""ResNet-101 with global context blocks in c3, c4 and c5 (ratio 1/16), on ImageNet.

    gcnet train --config=imagenet/resnet101_gc --workdir=runs/resnet101_gc

Not trained with this library yet.
"""

from configs.common import imagenet


def get_config():
    config = imagenet.with_block(imagenet.get_config(), "global_context", ratio=1 / 16)
    config.model.backbone.depth = 101
    return config
