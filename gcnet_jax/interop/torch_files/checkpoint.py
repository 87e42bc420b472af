"""The state dicts in the checkpoints of MMEngine and MMCV, and in others' files."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from gcnet_jax.errors import InputError
from gcnet_jax.files import as_path, write_whole
from gcnet_jax.interop.state_dicts import StateDict
from gcnet_jax.interop.torch_files.pickles import Global, Recorded
from gcnet_jax.interop.torch_files.reading import open_torch_file
from gcnet_jax.interop.torch_files.tensors import Tensor
from gcnet_jax.interop.torch_files.writing import torch_file

_MOST_NAMED = 20


@dataclasses.dataclass(frozen=True)
class TorchCheckpoint:
    """What a `.pth` file holds.

    Attributes:
        state_dict: its arrays by name, float32, without the prefix `module.` of parallel training.
        meta: what it says of itself, as far as it is plain; empty if it says nothing.
    """

    state_dict: StateDict
    meta: dict[str, Any]


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
    return TorchCheckpoint(arrays, meta if isinstance(meta, dict) else {})


def write_torch_checkpoint(
    path: os.PathLike, state_dict: StateDict, meta: Mapping[str, Any]
) -> None:
    """Writes a checkpoint that MMEngine and MMCV load.

    Args:
        path: of the file; one that is there is replaced.
        state_dict: from `export_state_dict`.
        meta: what it says of itself: plain containers, numbers and text.

    Raises:
        InputError: the file cannot be written.
    """
    target = as_path(path)
    if target.is_dir():
        raise InputError(f"{target} is a folder; expected the name of a file")
    arrays = {name: np.asarray(array) for name, array in state_dict.items()}
    write_whole(target, torch_file({"meta": dict(meta), "state_dict": arrays}))


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
