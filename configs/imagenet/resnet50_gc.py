"""ResNet-50 with global context blocks in c3, c4 and c5 (ratio 1/16), on ImageNet.

    gcnet train --config=imagenet/resnet50_gc --workdir=runs/resnet50_gc
    gcnet train --config=imagenet/resnet50_gc:4 --workdir=runs/resnet50_gc_r4

Expected: top-1 77.70, as published by the authors. Not trained with this library yet.
"""

from configs.common import imagenet


def get_config(reduction="16"):
    """The run; `reduction` says how many times fewer channels a block's bottleneck has."""
    return imagenet.with_block(imagenet.get_config(), "global_context", ratio=1 / int(reduction))
