"""ResNet-50 with another kind of context block in c3, c4 and c5, on ImageNet.

    gcnet train --config=imagenet/resnet50_block:non_local --workdir=runs/resnet50_nl
    gcnet train --config=imagenet/resnet50_block:simplified_non_local --workdir=runs/resnet50_snl
    gcnet train --config=imagenet/resnet50_block:squeeze_excite --workdir=runs/resnet50_se

For comparison with `imagenet/resnet50_gc`. Not trained with this library yet.
"""

from configs.common import imagenet


def get_config(block="simplified_non_local"):
    return imagenet.with_block(imagenet.get_config(), block)
