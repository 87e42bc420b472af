"""Weights of classifiers in the state dicts of mmpretrain and torchvision.

mmpretrain calls the parts of a classifier `backbone` and `head.fc`. torchvision's ResNets have the
same entries without `backbone.`, and `fc`.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from gcnet_jax.errors import InputError
from gcnet_jax.interop import ForeignFormat, Layers, StateDict
from gcnet_jax.tasks.classification.data import ImageClasses
from gcnet_jax.tasks.named_classes import names_from_meta, names_to_meta

_CLASSIFIER = re.compile(r"head\.fc\.(weight|bias)")
_OF_TORCHVISION = re.compile(r"(conv1|bn1|layer[1-4]\.\d+\.(conv\d|bn\d|downsample\.[01])|fc)\.\w+")


def to_torchvision(state_dict: StateDict) -> StateDict:
    """A classifier's state dict by torchvision's names, given by mmpretrain's.

    Raises:
        InputError: torchvision's ResNets have no place for an entry, such as one of a context
            block.
    """
    named = {
        name.removeprefix("backbone.").removeprefix("head."): np.asarray(array)
        for name, array in state_dict.items()
    }
    without_place = [name for name in named if not _OF_TORCHVISION.fullmatch(name)]
    if without_place:
        raise InputError(
            f"torchvision's ResNets have no place for {len(without_place)} entries, such as "
            f"{without_place[0]}: they are v1b and have no context blocks; write the network with "
            "--to=openmmlab"
        )
    return named


def _as_mmpretrain(state_dict: StateDict) -> StateDict:
    if any(name.startswith(("backbone.", "head.")) for name in state_dict):
        return state_dict
    return {
        f"head.{name}" if name.startswith("fc.") else f"backbone.{name}": array
        for name, array in state_dict.items()
    }


def _classes_from_meta(meta: Mapping[str, Any]) -> ImageClasses | None:
    names = names_from_meta(meta)
    return None if names is None else ImageClasses(names)


FOREIGN: ForeignFormat[ImageClasses] = ForeignFormat(
    names=((r"classifier", "head.fc"),),
    outputs=_CLASSIFIER,
    layers=Layers(linear=_CLASSIFIER),
    meaning_to_meta=lambda classes: names_to_meta(classes.names),
    meaning_from_meta=_classes_from_meta,
    renamed=_as_mmpretrain,
    to_torchvision=to_torchvision,
)
"""How files of mmpretrain, and of torchvision, hold classifiers and their backbones."""
