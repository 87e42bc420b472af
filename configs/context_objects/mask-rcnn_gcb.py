"""A small Mask R-CNN with global context blocks on context_objects.

gcnet prepare_dataset context_objects
gcnet train --config=configs/context_objects/mask-rcnn_gcb.py --workdir=runs/objects_gcb
"""

from configs.common import context_objects


def get_config():
    return context_objects.with_block(context_objects.mask_rcnn())
