"""A small network with a global context block on context_shapes.

gcnet prepare_dataset context_shapes
gcnet train --config=configs/context_shapes/gcnet.py --workdir=runs/shapes_gcnet
"""

from configs.common import context_shapes


def get_config():
    return context_shapes.get_config()
