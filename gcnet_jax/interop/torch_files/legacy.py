"""The format of PyTorch before 1.6: five pickles, then the storages one after the other.

The pickles are a magic number, the format's version, the machine, the content, and the keys of the
storages in their order. Whatever the machine was, PyTorch writes numbers in little-endian order,
but not those in untyped storages, which are bytes to it.
"""

import os
from typing import IO, Any

from gcnet_jax.interop.torch_files.errors import DamagedFileError
from gcnet_jax.interop.torch_files.pickles import read_pickle
from gcnet_jax.interop.torch_files.tensors import (
    ByteOrder,
    Storage,
    build,
    is_known,
    storage_of,
)

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_LENGTH_OF_COUNT = 8
_SHORT = 1 << 16


class LegacyFile:
    """A file in the older format, opened. It has no checksums.

    Attributes:
        content: of its pickle, with `Tensor`s in the places of tensors.

    Raises:
        DamagedFileError: it is no whole file of that format.
        RefusedFileError: its pickle refers to something else than tensors and plain containers.
    """

    def __init__(self, file: IO[bytes]):
        self._file = file
        self._size = file.seek(0, os.SEEK_END)
        self._storages: dict[str, Storage] = {}
        file.seek(0)
        if self._pickle() != _MAGIC or self._pickle() != _VERSION:
            raise DamagedFileError("it is of another format")
        machine = self._pickle()
        self.content: Any = self._pickle()
        is_big = isinstance(machine, dict) and machine.get("little_endian") is False
        self._order: ByteOrder = "big" if is_big else "little"
        self._places = self._find_rows(self._pickle())

    def row(self, storage: Storage) -> bytes:
        """The bytes of a storage."""
        self._file.seek(self._places[storage.key])
        return self._file.read(storage.nbytes)

    def order(self, storage: Storage) -> ByteOrder:
        """The order of the bytes in each number of a storage."""
        return self._order if storage.dtype.itemsize == 1 else "little"

    def check_rest(self) -> None:
        """Does nothing: there are no checksums."""

    def _pickle(self) -> Any:
        return read_pickle(
            _Clamped(self._file, self._size),  # type: ignore[arg-type]
            is_known=is_known,
            build=build,
            storage=self._storage,
        )

    def _storage(self, persistent_id: Any) -> Storage:
        storage = storage_of(persistent_id)
        known = self._storages.setdefault(storage.key, storage)
        if (known.dtype, known.count) != (storage.dtype, storage.count):
            raise DamagedFileError("it has two storages of one key")
        return storage

    def _find_rows(self, keys: Any) -> dict[str, int]:
        """Where the numbers of each storage begin, once it is clear that all of them are there."""
        if not isinstance(keys, list):
            raise DamagedFileError("it does not say which storages it has")
        places = {}
        place = self._file.tell()
        for key in keys:
            storage = self._storages.get(key) if isinstance(key, str) else None
            self._file.seek(place)
            count = int.from_bytes(self._file.read(_LENGTH_OF_COUNT), "little")
            if storage is None or key in places or count != storage.count:
                raise DamagedFileError("it has a storage that nothing refers to")
            places[key] = place + _LENGTH_OF_COUNT
            place = places[key] + storage.nbytes
            if place > self._size:
                raise DamagedFileError("it breaks off")
        if places.keys() != self._storages.keys():
            raise DamagedFileError("it lacks a storage")
        return places


class _Clamped:
    """A file that is never asked for more than it has, whatever a pickle says."""

    def __init__(self, file: IO[bytes], size: int):
        self._file = file
        self._size = size
        self.readline = file.readline

    def read(self, size: int) -> bytes:
        if size > _SHORT:
            size = min(size, self._size - self._file.tell())
        return self._file.read(size)
