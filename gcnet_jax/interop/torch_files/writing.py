"""Arrays and plain containers as a `.pth` file, in the zip format."""

import io
import struct
import zipfile
from typing import Any

import numpy as np

from gcnet_jax.interop.torch_files.tensors import STORAGES

_FOLDER = "archive"
_TIME = (1980, 1, 1, 0, 0, 0)  # the same content makes the same file


def torch_file(content: Any) -> bytes:
    """A file that `torch.load` takes, also with `weights_only=True`.

    Args:
        content: dicts, lists, strings, integers and, as tensors, NumPy arrays of the types that
            PyTorch has storages for.

    Raises:
        TypeError: something else is in it.
    """
    program = _Program()
    program.put(content)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:

        def record(name: str, data: bytes | memoryview) -> None:
            archive.writestr(zipfile.ZipInfo(f"{_FOLDER}/{name}", _TIME), data)

        record("data.pkl", b"\x80\x02" + bytes(program.code) + b".")
        record("byteorder", b"little")
        for key, array in enumerate(program.arrays):
            record(f"data/{key}", array.reshape(-1).view(np.uint8).data)
        record("version", b"3\n")
    return buffer.getvalue()


class _Program:
    """The instructions of a pickle of the second protocol, and the arrays that it refers to."""

    def __init__(self):
        self.code = bytearray()
        self.arrays: list[np.ndarray] = []

    def put(self, value: Any) -> None:
        if isinstance(value, dict):
            self.code += b"}("
            for key, item in value.items():
                self.put(key)
                self.put(item)
            self.code += b"u"
        elif isinstance(value, list):
            self.code += b"]("
            for item in value:
                self.put(item)
            self.code += b"e"
        elif isinstance(value, tuple):
            self.code += b"("
            for item in value:
                self.put(item)
            self.code += b"t"
        elif isinstance(value, str):
            text = value.encode()
            self.code += b"X" + struct.pack("<I", len(text)) + text
        elif isinstance(value, int) and not isinstance(value, bool):
            digits = value.to_bytes(9, "little", signed=True)
            self.code += b"\x8a" + bytes([len(digits)]) + digits
        elif isinstance(value, np.ndarray):
            self._put_tensor(value)
        else:
            raise TypeError(f"a .pth file of this library has no {type(value).__name__}")

    def _put_tensor(self, array: np.ndarray) -> None:
        kind = next((name for name, dtype in STORAGES.items() if dtype == array.dtype), None)
        if kind is None:
            raise TypeError(f"PyTorch has no storage for {array.dtype}")
        strides = [1]
        for length in reversed(array.shape[1:]):
            strides.insert(0, strides[0] * max(length, 1))
        self._put_global("torch._utils", "_rebuild_tensor_v2")
        self.code += b"(("  # its arguments, of which the first is the storage
        self.put("storage")
        self._put_global("torch", kind.removeprefix("torch."))
        self.put(str(len(self.arrays)))
        self.put("cpu")
        self.put(array.size)
        self.code += b"tQ"
        self.put(0)
        self.put(array.shape)
        self.put(tuple(strides[: array.ndim]))
        self.code += b"\x89"  # needs no gradient
        self._put_global("collections", "OrderedDict")
        self.code += b")RtR"  # of no hooks
        little = array.dtype.newbyteorder("<") if array.dtype.isbuiltin == 1 else array.dtype
        self.arrays.append(np.asarray(array, little, order="C"))

    def _put_global(self, module: str, name: str) -> None:
        self.code += f"c{module}\n{name}\n".encode()
