"""Reading and writing PyTorch's `.pth` files, the one thing that PyTorch is needed for.

Files are read with PyTorch's restricted unpickler, in the zip format and in the older one alike: it
builds tensors and plain containers and refuses everything else. What MMEngine's training runs save
beside the weights is neither refused nor built, but recorded.
"""

import collections
import dataclasses
import io
import os
import pickletools
import re
import zipfile
from types import ModuleType
from typing import Any

import numpy as np
from etils import epath
from jaxtyping import Shaped

from gcnet_jax.data import DatasetClasses, generic_palette
from gcnet_jax.errors import InputError
from gcnet_jax.files import as_path, open_regular, write_whole
from gcnet_jax.interop.openmmlab import StateDict

_SAFE_TORCH = (2, 6)
_MOST_TIMES = 20  # as much as archives may hold


@dataclasses.dataclass(frozen=True)
class TorchCheckpoint:
    """What a `.pth` file holds.

    Attributes:
        state_dict: its arrays by name, without the prefix `module.` of parallel training.
        classes: the classes it was trained for, if it says so.
    """

    state_dict: StateDict
    classes: DatasetClasses | None


class _Recorded:
    """Stands in for what is not to be built: keeps what a file gives for it, and does nothing."""

    def __init__(self, *args: Any):
        self.args = args
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


def read_torch_checkpoint(path: os.PathLike) -> TorchCheckpoint:
    """Reads a state dict, bare or in the `state_dict` of a checkpoint of MMEngine or MMCV.

    Args:
        path: of the file, in either of PyTorch's two serialisations.

    Raises:
        InputError: the file is not there, is no whole checkpoint, or would run code when loaded, in
            which case nothing of it is executed. Also if PyTorch is not installed.
    """
    torch = _torch("reading", path)
    path = as_path(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    _check_size(path)
    try:
        stood_in_for = [(_Recorded, name) for name in _STOOD_IN_FOR]
        with torch.serialization.safe_globals(stood_in_for), open_regular(path) as file:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except (InputError, OSError, MemoryError):
        raise
    except Exception as error:  # PyTorch raises a dozen kinds on a damaged file
        refused = re.search(r"(?:GLOBAL|Unsupported class|but got) (\S+)", str(error))
        if refused and not _breaks_off(path):
            raise InputError(
                f"{path} is refused: loading it would call {refused[1]}; expected nothing but "
                "tensors and plain containers"
            ) from error
        raise InputError(f"{path} is not a whole PyTorch checkpoint") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}; expected a state dict")
    state_dict = content.get("state_dict", content)
    if not isinstance(state_dict, dict) or not state_dict:
        raise InputError(f"{path} has no state dict")
    arrays = {}
    strangers = []
    size = path.stat().length
    for name, tensor in state_dict.items():
        array = _array(torch, tensor, most=size)
        plain = str(name).removeprefix("module.")
        if array is None or not isinstance(name, str) or plain in arrays:
            strangers.append(str(name))
        else:
            arrays[plain] = array
    if strangers:
        raise InputError(
            f"{path} has entries that are not one dense real tensor each: {', '.join(strangers)}"
        )
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
        InputError: PyTorch is not installed, or the file cannot be written.
    """
    torch = _torch("writing", path)
    target = as_path(path)
    names, palette = list(classes.names), [list(color) for color in classes.palette]
    meta = {
        "dataset_meta": {"classes": names, "palette": palette},
        "CLASSES": names,
        "PALETTE": palette,
    }
    tensors = {name: torch.from_numpy(np.array(x)) for name, x in state_dict.items()}
    if target.is_dir():
        raise InputError(f"{target} is a folder; expected the name of a file")
    buffer = io.BytesIO()
    torch.save({"meta": meta, "state_dict": tensors}, buffer)
    write_whole(target, buffer.getvalue())


def _torch(doing: str, path: os.PathLike) -> ModuleType:
    try:
        import torch
    except ImportError as error:
        raise InputError(
            f"{doing} {path} needs PyTorch: pip install 'gcnet-jax[openmmlab]', or pip install "
            "torch from the index of CPU builds, which is smaller"
        ) from error
    version = re.match(r"(\d+)\.(\d+)", torch.__version__)
    if version is None or (int(version[1]), int(version[2])) < _SAFE_TORCH:
        raise InputError(
            f"{doing} {path} needs PyTorch {'.'.join(map(str, _SAFE_TORCH))} or later, found "
            f"{torch.__version__}: earlier ones run code that a file brings, even where they are "
            "told not to (CVE-2025-32434)"
        )
    return torch


def _check_size(path: epath.Path) -> None:
    """Raises InputError if a file would become far larger than it is when it is read.

    PyTorch stores arrays as they are. In a zip they can be packed, zeros a thousandfold.
    """
    with open_regular(path) as file:
        if not zipfile.is_zipfile(file):
            return
        try:
            with zipfile.ZipFile(file) as zipped:
                inside = sum(member.file_size for member in zipped.infolist())
        except Exception:  # whatever the bytes happen to mean: reading it says what is wrong
            return
    if inside > _MOST_TIMES * path.stat().length:
        raise InputError(f"{path} is refused: it holds more than {_MOST_TIMES} times its size")


def _breaks_off(path: epath.Path) -> bool:
    """Whether a file in the older format ends within its pickles, perhaps within a name.

    There are five before the arrays: magic number, protocol, machine, content, keys. They are
    taken apart here, not executed.
    """
    with path.open("rb") as file:
        if zipfile.is_zipfile(file):
            return False
        file.seek(0)
        try:
            for _ in range(5):
                collections.deque(pickletools.genops(file), maxlen=0)
        except Exception:  # whatever the bytes happen to mean
            return True
    return False


def _array(torch: ModuleType, tensor: Any, *, most: int) -> Shaped[np.ndarray, "..."] | None:
    """The array of a tensor of at most so many numbers, unless it is something else.

    A tensor can be said to repeat few numbers endlessly.
    """
    if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided:
        return None
    if tensor.numel() > most:
        return None
    if tensor.is_complex() or tensor.is_quantized or tensor.device.type != "cpu":
        return None
    return tensor.detach().float().numpy()


# What the checkpoints of MMEngine's runs refer to beside tensors: NumPy's arrays and numbers, and
# logs, which refer to their own methods by `getattr`. Names are matched as they stand in the file.
_STOOD_IN_FOR = (
    "builtins.getattr",
    "mmengine.logging.history_buffer.HistoryBuffer",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.ndarray",
    "numpy.dtype",
)


def _classes(meta: dict[str, Any]) -> DatasetClasses | None:
    """The classes that a checkpoint's `meta` names: version 1.x first, then 0.x."""
    described = meta.get("dataset_meta")
    places = [described, meta] if isinstance(described, dict) else [meta]
    keys = ("classes", "CLASSES"), ("palette", "PALETTE")
    names, palette = (
        next((_plain(d[key]) for d in places for key in pair if d.get(key) is not None), None)
        for pair in keys
    )
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        return None
    names = tuple(name.strip() for name in names)
    if not names:
        return None
    return DatasetClasses(names, _colors(palette, len(names)) or generic_palette(len(names)))


def _colors(palette: Any, count: int) -> tuple[tuple[int, int, int], ...] | None:
    """The colours as bytes, or None if they are no such thing."""
    try:
        colors = np.asarray(palette).astype(np.int64)
    except (TypeError, ValueError, OverflowError):
        return None
    if colors.shape != (count, 3) or colors.min() < 0 or colors.max() > 255:
        return None
    return tuple((int(red), int(green), int(blue)) for red, green, blue in colors)


def _plain(value: Any) -> Any:
    """A recorded NumPy array of integers as lists; anything else as it is."""
    if not isinstance(value, _Recorded):
        return value.tolist() if hasattr(value, "tolist") else value
    try:
        _, shape, dtype, _, content = value.state
        kind = dtype.args[0]
        return np.frombuffer(content, np.dtype(kind)).reshape(shape).tolist()
    except (TypeError, ValueError, AttributeError, IndexError):
        return None
