"""Classes in the `meta` of OpenMMLab's checkpoints."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gcnet_jax.interop import Recorded
from gcnet_jax.tasks.segmentation.data import DatasetClasses, generic_palette

_LONGEST_NAMES = 1_000_000  # all classes' names together


def classes_to_meta(classes: DatasetClasses) -> dict[str, Any]:
    """What says in a checkpoint's `meta`, to mmsegmentation 0.x and 1.x, which classes it has."""
    names, palette = list(classes.names), [list(color) for color in classes.palette]
    return {
        "dataset_meta": {"classes": names, "palette": palette},
        "CLASSES": names,
        "PALETTE": palette,
    }


def classes_from_meta(meta: Mapping[str, Any]) -> DatasetClasses | None:
    """The classes that a checkpoint's `meta` names, if any: as version 1.x does, else as 0.x.

    Raises:
        InputError: the name of a class holds characters that cannot be shown.
    """
    described = meta.get("dataset_meta")
    places = [described, meta] if isinstance(described, dict) else [meta]
    keys = ("classes", "CLASSES"), ("palette", "PALETTE")
    names, palette = (
        next((d[key] for d in places for key in pair if d.get(key) is not None), None)
        for pair in keys
    )
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        return None
    if not names or sum(map(len, names)) > _LONGEST_NAMES:
        return None
    names = tuple(name.strip() for name in names)
    return DatasetClasses(names, _colors(palette, len(names)) or generic_palette(len(names)))


def _colors(palette: Any, count: int) -> tuple[tuple[int, int, int], ...] | None:
    """The colours as bytes, or None if they are no such thing."""
    rows = _array_of(palette, count) if isinstance(palette, Recorded) else palette
    if not isinstance(rows, list | tuple) or len(rows) != count:
        return None
    colors = []
    for row in rows:
        match row:
            case (int() | float() as red, int() | float() as green, int() | float() as blue) if all(
                0 <= value < 256 for value in row
            ):
                colors.append((int(red), int(green), int(blue)))
            case _:
                return None
    return tuple(colors)


def _array_of(recorded: Recorded, count: int) -> list[list[int]] | None:
    """The rows of a NumPy array of integers that was saved as an object, or None."""
    match recorded.state:
        case (
            _,
            (rows, 3),
            Recorded("numpy.dtype", (str(kind), *_), state),
            bool(by_columns),
            data,
        ):
            pass
        case _:
            return None
    content = _bytes(data, most=count * 3 * 8)
    if rows != count or content is None or kind not in _INTEGERS:
        return None
    order = ">" if isinstance(state, tuple) and ">" in state[1:2] else "<"
    dtype = np.dtype(kind).newbyteorder(order)
    if len(content) != count * 3 * dtype.itemsize:
        return None
    array = np.frombuffer(content, dtype)
    return array.reshape((count, 3), order="F" if by_columns else "C").tolist()


_INTEGERS = frozenset(["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"])


def _bytes(data: Any, most: int) -> bytes | None:
    """Bytes, which the second protocol of pickles has as text to be encoded."""
    match data:
        case bytes():
            return data
        case Recorded("_codecs.encode", (str(text), "latin1")) if len(text) <= most:
            try:
                return text.encode("latin-1")
            except UnicodeEncodeError:
                return None
    return None
