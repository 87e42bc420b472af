"""Weights of segmentors in mmsegmentation's state dicts: what they are called there."""

import re

from gcnet_jax.interop import ForeignFormat
from gcnet_jax.tasks.segmentation.data import DatasetClasses
from gcnet_jax.tasks.segmentation.foreign_classes import classes_from_meta, classes_to_meta

FOREIGN: ForeignFormat[DatasetClasses] = ForeignFormat(
    names=(
        (r"(decode_head|auxiliary_head)\.context_block", r"\1.gc_block"),
        (r"(decode_head|auxiliary_head)\.nonlocal_block", r"\1.nl_block"),
        (r"convs\.(\d+)\.norm", r"convs.\1.bn"),
        (r"fuse\.conv", "conv_cat.conv"),
        (r"fuse\.norm", "conv_cat.bn"),
        (r"classifier", "conv_seg"),
    ),
    outputs=re.compile(r"(decode_head|auxiliary_head)\.conv_seg\.(weight|bias)"),
    meaning_to_meta=classes_to_meta,
    meaning_from_meta=classes_from_meta,
)
"""How mmsegmentation's files hold segmentors, their backbones and context blocks."""
