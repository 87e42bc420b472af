"""Weights of classifiers in the state dicts of mmpretrain and torchvision.

mmpretrain calls the parts of a classifier `backbone` and `head.fc`. torchvision's ResNets have the
same entries without `backbone.`, and `fc`.
"""

import re
from collections.abc import Collection

import numpy as np
from flax import nnx

from gcnet_jax import interop
from gcnet_jax.interop import Mismatch, StateDict
from gcnet_jax.models import backbone_names
from gcnet_jax.nn.weight_names import Rows
from gcnet_jax.tasks.classification.classifier import Classifier

_HEAD: Rows = ((r"classifier", "head.fc"),)
OUTPUT_WEIGHTS = re.compile(r"head\.fc\.(weight|bias)")
"""The entries whose shapes depend on the number of classes."""


def import_state_dict(
    model: nnx.Module,
    state_dict: StateDict,
    *,
    allow_partial: bool = False,
    leave_out: re.Pattern[str] | None = None,
    may_lack: Collection[str] = (),
) -> Mismatch:
    """Writes the arrays of a state dict into a classifier or a backbone.

    Args:
        model: a classifier, a backbone or a context block.
        state_dict: of mmpretrain, or of torchvision.
        allow_partial: whether to take what fits where the two differ.
        leave_out: names of mmpretrain to pass over on both sides.
        may_lack: names that the state dict need not have.

    Raises:
        InputError: see `gcnet_jax.interop.import_state_dict`.
    """
    if isinstance(model, Classifier):
        state_dict = _as_mmpretrain(state_dict)
    return interop.import_state_dict(
        model,
        state_dict,
        _names(model),
        allow_partial=allow_partial,
        leave_out=leave_out,
        may_lack=may_lack,
        without_meaning=None if isinstance(model, Classifier) else interop.CLASSIFIER_OF_BACKBONE,
    )


def export_state_dict(model: nnx.Module) -> dict[str, np.ndarray]:
    """The arrays of a classifier or a backbone by mmpretrain's names."""
    return interop.export_state_dict(
        model, _names(model), layers=interop.Layers(linear=OUTPUT_WEIGHTS)
    )


def to_torchvision(state_dict: StateDict) -> StateDict:
    """A classifier's state dict by torchvision's names, given by mmpretrain's."""
    return {
        name.removeprefix("backbone.").removeprefix("head."): np.asarray(array)
        for name, array in state_dict.items()
    }


def added_entries(backbone: nnx.Module) -> Collection[str]:
    """The names of a backbone's entries that the plain one of its kind has not."""
    return interop.added_entries(backbone, _names(backbone))


def _names(model: nnx.Module) -> Rows:
    return (*backbone_names(model), *_HEAD)


def _as_mmpretrain(state_dict: StateDict) -> StateDict:
    if any(name.startswith(("backbone.", "head.")) for name in state_dict):
        return state_dict
    return {
        f"head.{name}" if name.startswith("fc.") else f"backbone.{name}": array
        for name, array in state_dict.items()
    }
