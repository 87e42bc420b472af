"""Classes in the `meta` of OpenMMLab's checkpoints."""

from collections.abc import Mapping
from typing import Any

from gcnet_jax.tasks.foreign_palette import palette_from_meta, with_palette
from gcnet_jax.tasks.named_classes import names_from_meta, names_to_meta
from gcnet_jax.tasks.segmentation.data import DatasetClasses, generic_palette


def classes_to_meta(classes: DatasetClasses) -> dict[str, Any]:
    """What says in a checkpoint's `meta`, to mmsegmentation 0.x and 1.x, which classes it has."""
    return with_palette(names_to_meta(classes.names), classes.palette)


def classes_from_meta(meta: Mapping[str, Any]) -> DatasetClasses | None:
    """The classes that a checkpoint's `meta` names, if any.

    Raises:
        InputError: the name of a class holds characters that cannot be shown.
    """
    names = names_from_meta(meta)
    if names is None:
        return None
    return DatasetClasses(names, palette_from_meta(meta, len(names)) or generic_palette(len(names)))
