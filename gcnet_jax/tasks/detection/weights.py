"""Weights of detectors in mmdetection's state dicts: what they are called there.

Of mmdetection's heads for regions, one stands by itself (`roi_head.bbox_head`), those of a cascade
have numbers (`roi_head.bbox_head.0`).
"""

import re
from collections.abc import Sequence
from typing import Any

from flax import nnx

from gcnet_jax.interop import ForeignFormat, Layers
from gcnet_jax.models import FEATURE_PYRAMID
from gcnet_jax.nn.weight_names import Rows
from gcnet_jax.tasks.detection.classes import ObjectClasses, classes_from_meta, classes_to_meta

_RPN_HEAD: Rows = (
    (r"rpn_head\.conv", "rpn_head.rpn_conv"),
    (r"rpn_head\.logits", "rpn_head.rpn_cls"),
    (r"rpn_head\.deltas", "rpn_head.rpn_reg"),
)
_BOX_HEAD: Rows = (
    (r"bbox_head((?:\.\d+)?)\.flatten", r"bbox_head\1.shared_fcs.0"),
    (r"bbox_head((?:\.\d+)?)\.hidden", r"bbox_head\1.shared_fcs.1"),
    (r"bbox_head((?:\.\d+)?)\.logits", r"bbox_head\1.fc_cls"),
    (r"bbox_head((?:\.\d+)?)\.deltas", r"bbox_head\1.fc_reg"),
)
_MASK_HEAD: Rows = (
    (r"mask_head((?:\.\d+)?)\.convs\.(\d+)", r"mask_head\1.convs.\2.conv"),
    (r"mask_head((?:\.\d+)?)\.logits", r"mask_head\1.conv_logits"),
)


def _names(model: nnx.Module) -> Rows:
    detector: Any = model
    heads = (
        *_region_heads("box_heads", "roi_head.bbox_head", getattr(detector, "box_heads", ())),
        *_region_heads("mask_heads", "roi_head.mask_head", getattr(detector, "mask_heads", ())),
    )
    return (*FEATURE_PYRAMID, *_RPN_HEAD, *heads, *_BOX_HEAD, *_MASK_HEAD)


def _region_heads(ours: str, theirs: str, heads: Sequence[nnx.Module]) -> Rows:
    if len(heads) == 1:
        return ((rf"{ours}\.0", theirs),)
    return ((rf"{ours}\.(\d+)", rf"{theirs}.\1"),)


FOREIGN: ForeignFormat[ObjectClasses] = ForeignFormat(
    names=_names,
    outputs=re.compile(
        r"roi_head\.(bbox_head(\.\d+)?\.fc_(cls|reg)|mask_head(\.\d+)?\.conv_logits)\.(weight|bias)"
    ),
    layers=Layers(
        linear=re.compile(r"roi_head\.bbox_head\..*"),
        transposed=re.compile(r"roi_head\.mask_head(\.\d+)?\.upsample\..*"),
    ),
    meaning_to_meta=classes_to_meta,
    meaning_from_meta=classes_from_meta,
)
"""How mmdetection's files hold detectors, and how they and torchvision's hold their backbones."""
