"""Colours of classes in the `meta` of OpenMMLab's checkpoints."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gcnet_jax.interop import Recorded
from gcnet_jax.tasks.named_classes import said_in_meta

Palette = tuple[tuple[int, int, int], ...]
"""One (red, green, blue) colour in 0..255 a class."""


def with_palette(meta: Mapping[str, Any], palette: Palette) -> dict[str, Any]:
    """The `meta` of `names_to_meta`, which then also says the colours of the classes."""
    colors = [list(color) for color in palette]
    return {
        **meta,
        "dataset_meta": {**meta["dataset_meta"], "palette": colors},
        "PALETTE": colors,
    }


def palette_from_meta(meta: Mapping[str, Any], count: int) -> Palette | None:
    """The colours of so many classes that a checkpoint's `meta` names, or None if it does not."""
    return _colors(said_in_meta(meta, "palette", "PALETTE"), count)


def _colors(palette: Any, count: int) -> Palette | None:
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
