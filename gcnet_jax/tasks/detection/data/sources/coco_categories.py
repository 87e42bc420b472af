"""Categories of a json in COCO's format."""

from collections.abc import Sequence
from typing import Any

from etils import epath

from gcnet_jax.errors import printable
from gcnet_jax.tasks.detection.classes import ObjectClasses
from gcnet_jax.tasks.detection.data.sources.faults import Faults
from gcnet_jax.tasks.detection.data.sources.numbers import is_id, shown


def checked_classes(path: epath.Path, categories: Sequence[Any], faults: Faults) -> ObjectClasses:
    """Returns the classes that the categories of a json are, in its order.

    Args:
        path: of the json.
        categories: whatever it has there.
        faults: where to note what is wrong.
    """
    names: dict[str, int] = {}
    ids: dict[int, str] = {}

    def fault(kind: str, what: str) -> None:
        faults.add(path, kind, what)

    for position, category in enumerate(categories):
        where = f"category at position {position}"
        if not isinstance(category, dict):
            fault("categories that are none", f"{where}: is {shown(category)}, expected an object")
            continue
        category_id, name = category.get("id"), category.get("name")
        if not is_id(category_id):
            fault("ids that are none", f"{where}: id {shown(category_id)}, expected a whole number")
            continue
        where = f"category {category_id}"
        if not isinstance(name, str) or not name or printable(name) != name:
            fault(
                "names of categories that are none",
                f"{where}: name {shown(name)}, expected a text that can be shown",
            )
        elif name in names:
            fault(
                "duplicate categories",
                f"{where}: is called {name!r} as category {names[name]} is, expected another name",
            )
        elif category_id in ids:
            fault(
                "duplicate categories",
                f"{where}: is there twice, as {ids[category_id]!r} and {name!r}, expected once",
            )
        else:
            names[name] = category_id
            ids[category_id] = name
    if not categories:
        fault("no categories", "categories: there are none, expected one at least")
    return ObjectClasses(tuple(names), category_ids=tuple(names.values()))


def check_same_classes(
    path: epath.Path, classes: ObjectClasses, of: str, trained: ObjectClasses, faults: Faults
) -> None:
    """Notes categories of a json that are not among those that are trained on.

    Args:
        path: of the json.
        classes: its categories.
        of: who says what is trained on.
        trained: the categories that are.
        faults: where to note them.
    """
    by_id = dict(zip(trained.category_ids or (), trained.names, strict=True))
    for category_id, name in zip(classes.category_ids or (), classes.names, strict=True):
        if by_id.get(category_id) != name:
            there = repr(by_id[category_id]) if category_id in by_id else "none"
            faults.add(
                path,
                "categories that are not trained on",
                f"category {category_id}: is {name!r}, but {of} has {there}",
            )
