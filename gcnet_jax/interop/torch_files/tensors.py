"""Tensors as PyTorch's pickles describe them: a view of a storage, by offset, shape and strides.

Nothing is allocated until a tensor's array is asked for.
"""

import dataclasses
import math
import re
from typing import Any, Literal

import ml_dtypes
import numpy as np
from jaxtyping import Shaped

from gcnet_jax.interop.torch_files.errors import DamagedFileError
from gcnet_jax.interop.torch_files.pickles import Global, Recorded

ByteOrder = Literal["little", "big"]

DTYPES: dict[str, np.dtype] = {
    name: np.dtype(dtype)
    for name, dtype in {
        "float64": np.float64,
        "float32": np.float32,
        "float16": np.float16,
        "bfloat16": ml_dtypes.bfloat16,
        "float8_e4m3fn": ml_dtypes.float8_e4m3fn,
        "float8_e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
        "float8_e5m2": ml_dtypes.float8_e5m2,
        "float8_e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
        "float8_e8m0fnu": ml_dtypes.float8_e8m0fnu,
        "complex128": np.complex128,
        "complex64": np.complex64,
        "int64": np.int64,
        "int32": np.int32,
        "int16": np.int16,
        "int8": np.int8,
        "uint64": np.uint64,
        "uint32": np.uint32,
        "uint16": np.uint16,
        "uint8": np.uint8,
        "bool": np.bool_,
    }.items()
}
"""What PyTorch calls the types of numbers."""

STORAGES: dict[str, np.dtype] = {
    "torch.DoubleStorage": DTYPES["float64"],
    "torch.FloatStorage": DTYPES["float32"],
    "torch.HalfStorage": DTYPES["float16"],
    "torch.BFloat16Storage": DTYPES["bfloat16"],
    "torch.ComplexDoubleStorage": DTYPES["complex128"],
    "torch.ComplexFloatStorage": DTYPES["complex64"],
    "torch.LongStorage": DTYPES["int64"],
    "torch.IntStorage": DTYPES["int32"],
    "torch.ShortStorage": DTYPES["int16"],
    "torch.CharStorage": DTYPES["int8"],
    "torch.ByteStorage": DTYPES["uint8"],
    "torch.BoolStorage": DTYPES["bool"],
    # Quantised tensors are no arrays, but a file that has some may have others.
    "torch.QInt8Storage": DTYPES["int8"],
    "torch.QUInt8Storage": DTYPES["uint8"],
    "torch.QUInt4x2Storage": DTYPES["uint8"],
    "torch.QUInt2x4Storage": DTYPES["uint8"],
    "torch.QInt32Storage": DTYPES["int32"],
}
"""The classes of storages of one type of numbers; those of the other types are untyped."""

_UNTYPED = ("torch.storage.UntypedStorage", "torch.UntypedStorage")
_MOST_AXES = 64
_LONGEST_KEY = 1000

# What published files and the checkpoints of training runs refer to. Nothing of it is called, so
# that a name in this list can do no harm: whoever finds a file refused learns that it is no such
# file. MMEngine's logs refer to their own methods by `getattr`.
_KNOWN = re.compile(
    r"""
    collections\.(OrderedDict|defaultdict|deque|Counter)
    | torch\.\w+Storage | torch\.storage\.(UntypedStorage|TypedStorage|_\w+)
    | torch\._utils\._rebuild_\w+ | torch\._tensor\._rebuild_from_type_v2
    | torch\.(Size|Tensor|device|nn\.parameter\.(Parameter|Buffer))
    | torch\.serialization\._get_layout
    | torch\.(float|bfloat|complex|q?u?int|bool)\w* | torch\.per_\w+_affine\w*
    | (mmengine|mmcv|mmseg)\.[\w.]+
    | numpy\.(dtype|ndarray|_?core\.multiarray\.(_reconstruct|scalar))
    | _codecs\.encode
    | (builtins|__builtin__)\.(getattr|set|frozenset|complex|slice|range|bytearray|object)
    | copy_?reg\._reconstructor
    | datetime\.(datetime|date|time|timedelta) | pathlib\.\w+Path | argparse\.Namespace
    """,
    re.VERBOSE,
)


def is_known(name: str) -> bool:
    """Whether a `.pth` file may refer to something of that name."""
    return _KNOWN.fullmatch(name) is not None


@dataclasses.dataclass(frozen=True)
class Storage:
    """A row of numbers in a file, or a part of one.

    Attributes:
        key: by which the file knows the row.
        dtype: of the numbers.
        count: how many numbers the whole row has.
        first: where this part of it begins.
        size: how many numbers this part has.
    """

    key: str
    dtype: np.dtype
    count: int
    first: int
    size: int

    @property
    def nbytes(self) -> int:
        """Bytes of the whole row."""
        return self.count * self.dtype.itemsize


def storage_of(persistent_id: Any) -> Storage:
    """The storage that a persistent id describes.

    Raises:
        DamagedFileError: it describes none.
    """
    match persistent_id:
        case ("storage", Global(kind), str(key), _, int(count)):
            view = None
        case ("storage", Global(kind), str(key), _, int(count), view):
            pass
        case _:
            raise DamagedFileError("it refers to what is no storage")
    if len(key) > _LONGEST_KEY:
        raise DamagedFileError("it refers to what is no storage")
    dtype = DTYPES["uint8"] if kind in _UNTYPED else STORAGES.get(kind)
    if dtype is None:
        raise DamagedFileError(f"it has a storage of the kind {kind}")
    match view:
        case None:
            first, size = 0, count
        case (str(), int(first), int(size)):
            pass
        case _:
            raise DamagedFileError("it has a part of a storage that is none")
    if not _are_sizes((count, first, size)) or first + size > count:
        raise DamagedFileError("it has a part of a storage that reaches beyond it")
    return Storage(key, dtype, count, first, size)


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor that lies within its storage.

    Attributes:
        storage: where its numbers are.
        dtype: of its numbers.
        offset: where the first of them is in the whole row, counted in numbers.
        shape: of the tensor.
        strides: how far apart in the row neighbours along each axis are, counted in numbers.
    """

    storage: Storage
    dtype: np.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of its array, which can be more than there are in the storage."""
        return math.prod(self.shape) * self.dtype.itemsize


def build(name: str, args: tuple[Any, ...]) -> Any:
    """What stands for a call in a `.pth` file: a `Tensor`, or a record of anything else.

    Raises:
        DamagedFileError: a tensor has numbers that are not in its storage.
    """
    match name, args:
        case "torch._utils._rebuild_tensor", (Storage() as storage, offset, shape, strides):
            return _tensor(storage, storage.dtype, offset, shape, strides)
        case (
            "torch._utils._rebuild_tensor_v2",
            (Storage() as storage, offset, shape, strides, _, _, *metadata),
        ) if not any(metadata):  # which would say that the numbers are negated or conjugate
            return _tensor(storage, storage.dtype, offset, shape, strides)
        case (
            "torch._utils._rebuild_tensor_v3",
            (Storage() as storage, offset, shape, strides, _, _, Global(kind), *metadata),
        ) if not any(metadata) and kind.removeprefix("torch.") in DTYPES:
            dtype = DTYPES[kind.removeprefix("torch.")]
            return _tensor(storage, dtype, offset, shape, strides)
        case (
            "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state",
            (Tensor() as tensor, *_),
        ):
            return tensor
        case (
            "torch._tensor._rebuild_from_type_v2",
            (
                Global(function),
                Global("torch.Tensor" | "torch.nn.parameter.Parameter"),
                tuple(inner),
                _,
            ),
        ) if function != name:  # a tensor with attributes of its own
            return build(function, inner)
        case "torch.Size", (tuple(shape),):
            return shape
    return Recorded(name, args)


def _tensor(storage: Storage, dtype: np.dtype, offset: Any, shape: Any, strides: Any) -> Tensor:
    if not _are_sizes(shape) or not _are_sizes(strides) or not _are_sizes((offset,)):
        raise DamagedFileError("it has a tensor of no shape")
    shape, strides = tuple(shape), tuple(strides)
    if len(shape) != len(strides):
        raise DamagedFileError("it has a tensor of no shape")
    # Untyped storages count bytes.
    scale = dtype.itemsize // storage.dtype.itemsize if dtype != storage.dtype else 1
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if math.prod(shape) and (last + 1) * scale > storage.size:
        raise DamagedFileError("it has a tensor that reaches beyond its storage")
    if math.prod(max(n, 1) for n in shape) * dtype.itemsize > np.iinfo(np.intp).max:
        raise DamagedFileError("it has a tensor of no shape")
    return Tensor(storage, dtype, offset + storage.first // scale, shape, strides)


def _are_sizes(values: Any) -> bool:
    return (
        isinstance(values, list | tuple)
        and len(values) <= _MOST_AXES
        and all(type(value) is int and 0 <= value < 2**63 for value in values)
    )


def array_of(tensor: Tensor, row: bytes, order: ByteOrder) -> Shaped[np.ndarray, "..."]:
    """The numbers of a tensor, contiguous and in this machine's byte order.

    Args:
        tensor: that they are of.
        row: the whole of its storage.
        order: of the bytes in it.
    """
    if 0 in tensor.shape:
        return np.empty(tensor.shape, tensor.dtype)
    width = tensor.dtype.itemsize
    # NumPy can swap the bytes of its own types; of the others it knows the width alone.
    native = tensor.dtype if tensor.dtype.isbuiltin == 1 else np.dtype(f"u{width}")
    stored = native.newbyteorder("<" if order == "little" else ">")
    axes = zip(tensor.shape, tensor.strides, strict=True)
    view = np.ndarray(
        tensor.shape,
        stored,
        row,
        offset=tensor.offset * width,
        strides=[step * width if n > 1 else 0 for n, step in axes],
    )
    if tensor.dtype == np.bool_:
        return np.array(view.view(np.uint8) != 0, order="C")  # any other byte is no boolean
    return np.array(view, native, order="C").view(tensor.dtype)
