"""Classes of objects: by what names detectors tell them apart."""

import csv
import dataclasses
from collections.abc import Mapping
from importlib import resources
from typing import Any, Self

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
        category_ids: what the data set itself calls each class, by index: whole numbers, of which
            COCO's have gaps. Results in COCO's format name classes by them. None where nobody
            knows.

    Raises:
        InputError: a name holds control characters, or the ids are not as many as the names.
    """

    palette: Palette | None = None
    category_ids: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.category_ids is not None and len(self.category_ids) != len(self.names):
            raise InputError(
                f"{len(self.category_ids)} ids of {len(self.names)} classes; expected one for each"
            )

    def to_plain(self) -> dict[str, Any]:
        """Returns JSON, as in tables of contents and in checkpoints; of the palette it is silent.

        The ids are left out where nobody knows them, as earlier versions wrote it.
        """
        plain = super().to_plain()
        if self.category_ids is not None:
            plain["category_ids"] = list(self.category_ids)
        return plain

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Returns the classes of such JSON.

        Raises:
            KeyError, TypeError, ValueError or InputError: if it is something else.
        """
        classes = super().from_plain({k: v for k, v in plain.items() if k != "category_ids"})
        ids = plain.get("category_ids")
        if ids is None:
            return classes
        if not isinstance(ids, list) or not all(type(index) is int for index in ids):
            raise TypeError(f"{str(ids)[:100]} are no ids of classes")
        return dataclasses.replace(classes, category_ids=tuple(ids))


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
    table = resources.files("gcnet_jax.tasks.detection") / "data" / "classes" / f"{name}.csv"
    rows = list(csv.DictReader(table.read_text("utf-8").splitlines()))
    return ObjectClasses(
        tuple(row["name"] for row in rows), category_ids=tuple(int(row["id"]) for row in rows)
    )


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
