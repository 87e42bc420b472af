"""Classes in the `meta` of OpenMMLab's checkpoints."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gcnet_jax.interop import Recorded
from gcnet_jax.tasks.named_classes import names_from_meta, names_to_meta, said_in_meta
from gcnet_jax.tasks.segmentation.data import DatasetClasses, generic_palette


def classes_to_meta(classes: DatasetClasses) -> dict[str, Any]:
    """What says in a checkpoint's `meta`, to mmsegmentation 0.x and 1.x, which classes it has."""
    meta, palette = names_to_meta(classes.names), [list(color) for color in classes.palette]
    meta["dataset_meta"]["palette"] = palette
    return {**meta, "PALETTE": palette}


def classes_from_meta(meta: Mapping[str, Any]) -> DatasetClasses | None:
    """The classes that a checkpoint's `meta` names, if any.

    Raises:
        InputError: the name of a class holds characters that cannot be shown.
    """
    names = names_from_meta(meta)
    if names is None:
        return None
    colors = _colors(said_in_meta(meta, "palette", "PALETTE"), len(names))
    return DatasetClasses(names, colors or generic_palette(len(names)))


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
