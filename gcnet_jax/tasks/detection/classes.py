"""Classes of objects: by what names detectors tell them apart."""

import csv
import dataclasses
from collections.abc import Mapping
from importlib import resources
from typing import Any

from gcnet_jax.errors import InputError
from gcnet_jax.tasks.foreign_palette import Palette, palette_from_meta, with_palette
from gcnet_jax.tasks.named_classes import NamedClasses, names_from_meta, names_to_meta

_KNOWN = ("coco",)


@dataclasses.dataclass(frozen=True)
class ObjectClasses(NamedClasses):
    """Names of the classes of objects, in the order of their indices.

    Attributes:
        names: one name a class; the position is the class index.
        palette: a colour for each, where a checkpoint of mmdetection says one. Nothing is drawn
            with it here, where each object has a colour of its own; it goes back with the weights.

    Raises:
        InputError: a name holds control characters.
    """

    palette: Palette | None = None


def known_classes(name: str) -> ObjectClasses:
    """The classes of a data set that is known by name, readable without any data.

    Raises:
        InputError: there is none of that name.
    """
    if name not in _KNOWN:
        raise InputError(
            f"the classes of the data set {name!r} are not known; expected one of "
            f"{', '.join(_KNOWN)}"
        )
    table = resources.files("gcnet_jax.tasks.detection") / "class_names" / f"{name}.csv"
    rows = csv.DictReader(table.read_text("utf-8").splitlines())
    return ObjectClasses(tuple(row["name"] for row in rows))


def classes_to_meta(classes: ObjectClasses) -> dict[str, Any]:
    """What a `.pth` file says to mmdetection, 2.x and 3.x, of the classes."""
    meta = names_to_meta(classes.names)
    return meta if classes.palette is None else with_palette(meta, classes.palette)


def classes_from_meta(meta: Mapping[str, Any]) -> ObjectClasses | None:
    """The classes that the `meta` of a `.pth` file names, if any.

    Raises:
        InputError: the name of a class holds characters that cannot be shown.
    """
    names = names_from_meta(meta)
    return None if names is None else ObjectClasses(names, palette_from_meta(meta, len(names)))
