"""ResNet-50 on ImageNet, the baseline of the GCNet papers.

    gcnet prepare_dataset imagenet --source=ILSVRC2012
    gcnet train --config=imagenet/resnet50 --workdir=runs/resnet50

Expected: top-1 76.88, as published by the authors. Not trained with this library yet.
"""

from configs.common import imagenet


def get_config():
    return imagenet.get_config()
