"""The network of `mask-rcnn_gcb.py` without its global context blocks, and nothing else changed.

gcnet prepare_dataset context_objects
gcnet train --config=configs/context_objects/mask-rcnn.py --workdir=runs/objects
"""

from configs.common import context_objects


def get_config():
    return context_objects.mask_rcnn()
