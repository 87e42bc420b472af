"""Weights of detectors in mmdetection's state dicts: what they are called there.

Of mmdetection's heads for regions, one stands by itself (`roi_head.bbox_head`), those of a cascade
have numbers (`roi_head.bbox_head.0`).
"""

import re
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from flax import nnx

from gcnet_jax import interop
from gcnet_jax.errors import InputError
from gcnet_jax.interop import Layers, Mismatch, StateDict
from gcnet_jax.models import FEATURE_PYRAMID, backbone_names
from gcnet_jax.nn.weight_names import Rows

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
_LAYERS = Layers(
    linear=re.compile(r"roi_head\.bbox_head\..*"),
    transposed=re.compile(r"roi_head\.mask_head(\.\d+)?\.upsample\..*"),
)

OUTPUT_WEIGHTS = re.compile(
    r"roi_head\.(bbox_head(\.\d+)?\.fc_(cls|reg)|mask_head(\.\d+)?\.conv_logits)\.(weight|bias)"
)
"""The entries whose shapes depend on the number of classes."""


def import_state_dict(
    model: nnx.Module,
    state_dict: StateDict,
    *,
    allow_partial: bool = False,
    leave_out: re.Pattern[str] | None = None,
    may_lack: Collection[str] = (),
) -> Mismatch:
    """Writes the arrays of a state dict into a detector or a backbone.

    See `gcnet_jax.interop.import_state_dict`, which this hands the table of names.
    """
    return interop.import_state_dict(
        model,
        state_dict,
        _names(model),
        layers=_LAYERS,
        allow_partial=allow_partial,
        leave_out=leave_out,
        may_lack=may_lack,
    )


def export_state_dict(model: nnx.Module) -> dict[str, np.ndarray]:
    """The arrays of a detector or a backbone by mmdetection's names.

    See `gcnet_jax.interop.export_state_dict`, which this hands the table of names.
    """
    return interop.export_state_dict(model, _names(model), layers=_LAYERS)


def to_torchvision(state_dict: StateDict) -> StateDict:
    """Raises InputError: torchvision's detectors are others."""
    del state_dict
    raise InputError("torchvision has no detectors of this kind; write them with --to=openmmlab")


def added_entries(backbone: nnx.Module) -> Collection[str]:
    """The names of a backbone's entries that the plain one of its kind has not."""
    return interop.added_entries(backbone, _names(backbone))


def _names(model: nnx.Module) -> Rows:
    detector: Any = model
    heads = (
        *_region_heads("box_heads", "roi_head.bbox_head", getattr(detector, "box_heads", ())),
        *_region_heads("mask_heads", "roi_head.mask_head", getattr(detector, "mask_heads", ())),
    )
    return (*backbone_names(model), *FEATURE_PYRAMID, *_RPN_HEAD, *heads, *_BOX_HEAD, *_MASK_HEAD)


def _region_heads(ours: str, theirs: str, heads: Sequence[nnx.Module]) -> Rows:
    if len(heads) == 1:
        return ((rf"{ours}\.0", theirs),)
    return ((rf"{ours}\.(\d+)", rf"{theirs}.\1"),)
