"""The network of `gcnet.py` with the global context block removed, and nothing else changed.

gcnet prepare_dataset context_shapes
gcnet train --config=configs/context_shapes/fcn.py --workdir=runs/shapes_fcn
"""

from configs.common import context_shapes


def get_config():
    config = context_shapes.get_config()
    config.model.decode_head.context.block = ""
    return config
