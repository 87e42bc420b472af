"""Reading and writing PyTorch's `.pth` files, the one thing that PyTorch is needed for.

Files are read with `weights_only=True`: PyTorch's restricted unpickler builds tensors and plain
containers and refuses everything else, in the zip format and in the older one alike.
"""

import collections
import dataclasses
import os
import pickletools
import re
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from gcnet_jax.data import DatasetClasses, generic_palette
from gcnet_jax.errors import InputError
from gcnet_jax.interop.openmmlab import StateDict


@dataclasses.dataclass(frozen=True)
class TorchCheckpoint:
    """What a `.pth` file holds.

    Attributes:
        state_dict: its arrays by name, without the prefix `module.` of parallel training.
        classes: the classes it was trained for, if it says so.
    """

    state_dict: StateDict
    classes: DatasetClasses | None


class _Inert:
    """Stands in for a class of MMEngine's training logs: takes any state and does nothing."""

    def __init__(self, *args: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _inert_attribute(*args: Any) -> None:
    """Stands in for `getattr`, and looks nothing up."""


def read_torch_checkpoint(path: os.PathLike) -> TorchCheckpoint:
    """Reads a state dict, bare or in the `state_dict` of a checkpoint of MMEngine or MMCV.

    Args:
        path: of the file, in either of PyTorch's two serialisations.

    Raises:
        InputError: the file is not there, is no whole checkpoint, or would run code when loaded, in
            which case nothing of it is executed. Also if PyTorch is not installed.
    """
    torch = _torch("reading", path)
    if not Path(path).is_file():
        raise InputError(f"there is no file {path}")
    try:
        with torch.serialization.safe_globals(_harmless_globals()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # PyTorch raises a dozen kinds on a damaged file
        refused = re.search(r"(?:GLOBAL|Unsupported class) (\S+)", str(error))
        if refused and not _breaks_off(Path(path)):
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
    if strangers := [name for name, x in state_dict.items() if not isinstance(x, torch.Tensor)]:
        raise InputError(
            f"{path} has entries that are no tensors: {', '.join(map(str, strangers))}"
        )
    arrays = {
        name.removeprefix("module."): tensor.detach().float().numpy()
        for name, tensor in state_dict.items()
    }
    meta = content.get("meta") if state_dict is not content else None
    return TorchCheckpoint(arrays, _classes(meta if isinstance(meta, dict) else {}))


def write_torch_checkpoint(
    path: os.PathLike, state_dict: StateDict, classes: DatasetClasses
) -> None:
    """Writes a checkpoint that mmsegmentation 0.x and 1.x load, under another name until whole.

    Args:
        path: of the file; one that is there is replaced.
        state_dict: from `export_state_dict`.
        classes: go into `meta`, under the names that either version looks for.

    Raises:
        InputError: PyTorch is not installed.
    """
    torch = _torch("writing", path)
    target = Path(path)
    names, palette = list(classes.names), [list(color) for color in classes.palette]
    meta = {
        "dataset_meta": {"classes": names, "palette": palette},
        "CLASSES": names,
        "PALETTE": palette,
    }
    tensors = {name: torch.from_numpy(np.array(x)) for name, x in state_dict.items()}
    partial = target.with_name(f".{target.name}.partial")
    torch.save({"meta": meta, "state_dict": tensors}, partial)
    partial.replace(target)


def _torch(doing: str, path: os.PathLike) -> ModuleType:
    try:
        import torch
    except ImportError as error:
        raise InputError(
            f"{doing} {path} needs PyTorch: pip install 'gcnet-jax[openmmlab]', or pip install "
            "torch from the index of CPU builds, which is smaller"
        ) from error
    return torch


def _breaks_off(path: Path) -> bool:
    """Whether a file in the older format ends within its pickles, perhaps within a name.

    There are five before the arrays: magic number, protocol, machine, content, keys. They are
    taken apart here, not executed.
    """
    if zipfile.is_zipfile(path):
        return False
    with path.open("rb") as file:
        try:
            for _ in range(5):
                collections.deque(pickletools.genops(file), maxlen=0)
        except Exception:  # whatever the bytes happen to mean
            return True
    return False


def _harmless_globals() -> list[Any]:
    """What the checkpoints of MMEngine's runs refer to beside tensors: NumPy's arrays, and a log.

    The names are matched as they stand in the file; nothing is imported for them.
    """
    from numpy._core import multiarray

    array_parts = [
        (getattr(multiarray, name), f"{module}.multiarray.{name}")
        for name in ("_reconstruct", "scalar")
        for module in ("numpy.core", "numpy._core")
    ]
    dtypes = [type(np.dtype(name)) for name in ("float32", "float64", "int32", "int64", "bool")]
    log = [
        (_Inert, "mmengine.logging.history_buffer.HistoryBuffer"),
        (_inert_attribute, "builtins.getattr"),  # by which a log refers to its own methods
    ]
    return [*array_parts, np.ndarray, np.dtype, *dtypes, *log]


def _classes(meta: dict[str, Any]) -> DatasetClasses | None:
    """The classes that a checkpoint's `meta` names: version 1.x first, then 0.x."""
    described = meta.get("dataset_meta")
    described = described if isinstance(described, dict) else {}
    names = described.get("classes") or described.get("CLASSES") or meta.get("CLASSES")
    palette = described.get("palette") or described.get("PALETTE") or meta.get("PALETTE")
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        return None
    if not isinstance(palette, list | tuple) or len(palette) != len(names):
        palette = generic_palette(len(names))
    colors = tuple((int(red), int(green), int(blue)) for red, green, blue in palette)
    return DatasetClasses(tuple(name.strip() for name in names), colors)
