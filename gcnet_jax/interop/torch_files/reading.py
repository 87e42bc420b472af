"""A `.pth` file of either format: what its pickle holds, and the arrays of its tensors."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from gcnet_jax.errors import InputError
from gcnet_jax.files import as_path, open_regular
from gcnet_jax.interop.torch_files.archive import Archive
from gcnet_jax.interop.torch_files.errors import DamagedFileError, RefusedFileError
from gcnet_jax.interop.torch_files.legacy import LegacyFile
from gcnet_jax.interop.torch_files.tensors import ByteOrder, Storage, Tensor, array_of

_BEGINNING_OF_ZIP = b"PK\x03\x04"

# Tensors can overlap, or repeat a number for ever. What a file's tensors take beyond several times
# its own size was put there to fill the memory. Small files are let repeat their numbers.
_MOST_TIMES = 4
_SMALL = 16 << 20


class _Format(Protocol):
    content: Any

    def row(self, storage: Storage) -> bytes: ...

    def order(self, storage: Storage) -> ByteOrder: ...

    def check_rest(self) -> None: ...


class TorchFile:
    """An open `.pth` file.

    Attributes:
        content: numbers, strings, bytes, lists, tuples and dicts, `Tensor`s in the places of
            tensors, and `Global`s and `Recorded`s in the places of what is not built.
    """

    def __init__(self, opened: _Format, size: int):
        self._opened = opened
        self._most = max(_MOST_TIMES * size, _SMALL)
        self.content = opened.content

    def arrays(self, tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
        """The numbers of tensors, each an array of its own, contiguous, of the tensor's type.

        Args:
            tensors: from `content`, by any names.

        Raises:
            RefusedFileError: they are far larger than the file.
            DamagedFileError: a checksum is wrong, of these or of what else the file has.
        """
        needed = sum(tensor.nbytes for tensor in tensors.values())
        if needed > self._most:
            largest = max(tensors, key=lambda name: tensors[name].nbytes)
            raise RefusedFileError(
                f"its tensors take {needed} bytes, far more than the file has, the largest is "
                f"{largest}"
            )
        by_row: dict[str, list[str]] = {}
        for name, tensor in tensors.items():
            by_row.setdefault(tensor.storage.key, []).append(name)
        arrays = {}
        for names in by_row.values():  # one row after the other is in memory
            row = self._opened.row(tensors[names[0]].storage)
            for name in names:
                order = self._opened.order(tensors[name].storage)
                arrays[name] = array_of(tensors[name], row, order)
            del row
        self._opened.check_rest()
        return {name: arrays[name] for name in tensors}


@contextlib.contextmanager
def open_torch_file(path: os.PathLike) -> Iterator[TorchFile]:
    """Opens a `.pth` file, whose arrays can be asked for until it is closed.

    Args:
        path: of the file, in either of PyTorch's two serialisations.

    Raises:
        InputError: the file is not there, is not whole, or holds something else than tensors and
            plain containers, such as code that would run when loaded. None of it is executed.
    """
    path = as_path(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    try:
        with open_regular(path) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            zipped = file.read(len(_BEGINNING_OF_ZIP)) == _BEGINNING_OF_ZIP
            yield TorchFile(Archive(file) if zipped else LegacyFile(file), size)
    except DamagedFileError as error:
        raise InputError(f"{path} is not a whole PyTorch checkpoint: {error}") from error
    except RefusedFileError as error:
        raise InputError(
            f"{path} is refused: {error}; expected nothing but tensors and plain containers"
        ) from error
