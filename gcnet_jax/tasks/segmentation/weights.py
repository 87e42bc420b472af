"""Weights of segmentors in mmsegmentation's state dicts: what they are called there."""

import re
from collections.abc import Collection

import numpy as np
from flax import nnx

from gcnet_jax import interop
from gcnet_jax.errors import InputError
from gcnet_jax.interop import Mismatch, StateDict
from gcnet_jax.models import backbone_names
from gcnet_jax.nn.weight_names import Rows

_HEADS: Rows = (
    (r"(decode_head|auxiliary_head)\.context_block", r"\1.gc_block"),
    (r"(decode_head|auxiliary_head)\.nonlocal_block", r"\1.nl_block"),
    (r"convs\.(\d+)\.norm", r"convs.\1.bn"),
    (r"fuse\.conv", "conv_cat.conv"),
    (r"fuse\.norm", "conv_cat.bn"),
    (r"classifier", "conv_seg"),
)

OUTPUT_WEIGHTS = re.compile(r"(decode_head|auxiliary_head)\.conv_seg\.(weight|bias)")
"""The entries whose shapes depend on the number of classes."""


def import_state_dict(
    model: nnx.Module,
    state_dict: StateDict,
    *,
    allow_partial: bool = False,
    leave_out: re.Pattern[str] | None = None,
    may_lack: Collection[str] = (),
) -> Mismatch:
    """Writes the arrays of a state dict into a segmentor, a backbone or a context block.

    See `gcnet_jax.interop.import_state_dict`, which this hands the table of names.
    """
    return interop.import_state_dict(
        model,
        state_dict,
        _names(model),
        allow_partial=allow_partial,
        leave_out=leave_out,
        may_lack=may_lack,
    )


def export_state_dict(model: nnx.Module, *, spatial_axes: int = 2) -> dict[str, np.ndarray]:
    """The arrays of a segmentor, a backbone or a context block by mmsegmentation's names.

    See `gcnet_jax.interop.export_state_dict`, which this hands the table of names.
    """
    return interop.export_state_dict(model, _names(model), spatial_axes=spatial_axes)


def to_torchvision(state_dict: StateDict) -> StateDict:
    """Raises InputError: torchvision has no such segmentors."""
    del state_dict
    raise InputError("torchvision has no segmentors of this kind; write them with --to=openmmlab")


def added_entries(backbone: nnx.Module) -> Collection[str]:
    """The names of a backbone's entries that the plain one of its kind has not."""
    return interop.added_entries(backbone, _names(backbone))


def _names(model: nnx.Module) -> Rows:
    return (*backbone_names(model), *_HEADS)
