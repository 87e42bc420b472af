"""The state dicts and the classes in the checkpoints of MMEngine and MMCV, and in others' files."""

import dataclasses
import os
from typing import Any

import numpy as np

from gcnet_jax.errors import InputError
from gcnet_jax.files import as_path, write_whole
from gcnet_jax.interop.openmmlab import StateDict
from gcnet_jax.interop.torch_files.pickles import Global, Recorded
from gcnet_jax.interop.torch_files.reading import open_torch_file
from gcnet_jax.interop.torch_files.tensors import Tensor
from gcnet_jax.interop.torch_files.writing import torch_file
from gcnet_jax.tasks.segmentation.data import DatasetClasses, generic_palette

_MOST_NAMED = 20
_LONGEST_NAMES = 1_000_000  # all classes' names together


@dataclasses.dataclass(frozen=True)
class TorchCheckpoint:
    """What a `.pth` file holds.

    Attributes:
        state_dict: its arrays by name, float32, without the prefix `module.` of parallel training.
        classes: the classes it was trained for, if it says so.
    """

    state_dict: StateDict
    classes: DatasetClasses | None


def read_torch_checkpoint(path: os.PathLike) -> TorchCheckpoint:
    """Reads a state dict, bare or in the `state_dict` of a checkpoint of MMEngine or MMCV.

    Args:
        path: of the file, in either of PyTorch's two serialisations.

    Raises:
        InputError: the file is not there, is no whole checkpoint, or would run code when loaded, in
            which case nothing of it is executed.
    """
    with open_torch_file(path) as file:
        content = file.content
        if not isinstance(content, dict):
            raise InputError(f"{path} holds {_called(content)}; expected a state dict")
        state_dict = content.get("state_dict", content)
        if not isinstance(state_dict, dict) or not state_dict:
            raise InputError(f"{path} has no state dict")
        arrays = file.arrays(_tensors(path, state_dict))
    with np.errstate(over="ignore"):  # what is too large becomes infinite, which is looked for
        for name, array in arrays.items():
            arrays[name] = array.astype(np.float32, copy=False)
    meta = content.get("meta") if state_dict is not content else None
    try:
        classes = _classes(meta if isinstance(meta, dict) else {})
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return TorchCheckpoint(arrays, classes)


def write_torch_checkpoint(
    path: os.PathLike, state_dict: StateDict, classes: DatasetClasses
) -> None:
    """Writes a checkpoint that mmsegmentation 0.x and 1.x load.

    Args:
        path: of the file; one that is there is replaced.
        state_dict: from `export_state_dict`.
        classes: go into `meta`, under the names that either version looks for.

    Raises:
        InputError: the file cannot be written.
    """
    target = as_path(path)
    if target.is_dir():
        raise InputError(f"{target} is a folder; expected the name of a file")
    names, palette = list(classes.names), [list(color) for color in classes.palette]
    meta = {
        "dataset_meta": {"classes": names, "palette": palette},
        "CLASSES": names,
        "PALETTE": palette,
    }
    arrays = {name: np.asarray(array) for name, array in state_dict.items()}
    write_whole(target, torch_file({"meta": meta, "state_dict": arrays}))


def _tensors(path: os.PathLike, state_dict: dict[Any, Any]) -> dict[str, Tensor]:
    """The entries of a state dict, once it is clear that all of them can be weights."""
    tensors: dict[str, Tensor] = {}
    strangers = []
    for name, tensor in state_dict.items():
        plain = str(name).removeprefix("module.")
        if (
            isinstance(name, str)
            and isinstance(tensor, Tensor)
            and tensor.dtype.kind != "c"
            and plain not in tensors
        ):
            tensors[plain] = tensor
        else:
            strangers.append(str(name))
    if strangers:
        more = f" and {len(strangers) - _MOST_NAMED} more" if strangers[_MOST_NAMED:] else ""
        raise InputError(
            f"{path} has entries that are not one dense real tensor each: "
            f"{', '.join(strangers[:_MOST_NAMED])}{more}"
        )
    return tensors


def _called(content: Any) -> str:
    if isinstance(content, Recorded | Global):
        return content.name
    return f"a {type(content).__name__}"


def _classes(meta: dict[str, Any]) -> DatasetClasses | None:
    """The classes that a checkpoint's `meta` names: version 1.x first, then 0.x."""
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
