"""The format of PyTorch 1.6 and later: an uncompressed zip archive with one record a storage.

Beside the storages, `data/KEY`, it has `data.pkl`, and `byteorder` where PyTorch is recent.
"""

import collections
import errno
import functools
import io
import os
import zipfile
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

_BLOCK = 1 << 20


class Archive:
    """A file in the zip format, opened.

    Attributes:
        content: of its pickle, with `Tensor`s in the places of tensors.

    Raises:
        DamagedFileError: it is no whole archive, or a record has another checksum than it says.
        RefusedFileError: its pickle refers to something else than tensors and plain containers.
    """

    def __init__(self, file: IO[bytes]):
        self._archive = _opened(file)
        self._records = _records(self._archive, file.seek(0, os.SEEK_END))
        pickles = [name for name in self._records if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise DamagedFileError("it has no data.pkl")
        self._folder = pickles[0].removesuffix("data.pkl")
        self._unread = set(self._records)
        self._order: ByteOrder = self._byte_order()
        self.content: Any = read_pickle(
            io.BytesIO(self._read("data.pkl")),
            is_known=is_known,
            build=build,
            storage=self._storage,
        )

    def row(self, storage: Storage) -> bytes:
        """The bytes of a storage.

        Raises:
            DamagedFileError: they have another checksum than the archive says.
        """
        return self._read(f"data/{storage.key}")

    def order(self, storage: Storage) -> ByteOrder:
        """The order of the bytes in each number of a storage: that of the machine that wrote."""
        del storage
        return self._order

    def check_rest(self) -> None:
        """Reads what was not asked for, too.

        Raises:
            DamagedFileError: the checksum of some record is wrong.
        """
        for name in sorted(self._unread):
            try:
                with self._archive.open(self._records[name]) as record:
                    collections.deque(iter(functools.partial(record.read, _BLOCK), b""), maxlen=0)
            except _DAMAGE as error:
                raise DamagedFileError(f"its record {name} is damaged") from error
        self._unread.clear()

    def _read(self, name: str) -> bytes:
        name = f"{self._folder}{name}"
        try:
            content = self._archive.read(self._records[name])
        except _DAMAGE as error:
            raise DamagedFileError(f"its record {name} is damaged") from error
        self._unread.discard(name)
        return content

    def _byte_order(self) -> ByteOrder:
        if f"{self._folder}byteorder" not in self._records:
            return "little"
        order = self._read("byteorder")
        if order == b"little":
            return "little"
        if order == b"big":
            return "big"
        raise DamagedFileError("its byte order is none")

    def _storage(self, persistent_id: Any) -> Storage:
        storage = storage_of(persistent_id)
        record = self._records.get(f"{self._folder}data/{storage.key}")
        if record is None or record.file_size < storage.nbytes:
            raise DamagedFileError("it lacks a storage, or some of one")
        return storage


# What zipfile raises on archives that are none: also if a flag says encrypted, or a version that
# is not there yet.
_DAMAGE = (zipfile.BadZipFile, ValueError, EOFError, RuntimeError, NotImplementedError)


def _opened(file: IO[bytes]) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except _DAMAGE as error:
        raise DamagedFileError("it breaks off or is none") from error
    except OSError as error:
        if error.errno == errno.EINVAL:  # from a position before the file's beginning
            raise DamagedFileError("it breaks off or is none") from error
        raise


def _records(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """The archive's records by name, once it is clear that they fit into the file, all together.

    Compressed ones, which PyTorch does not write, could become any size.
    """
    records = {record.filename: record for record in archive.infolist()}
    if len(records) != len(archive.infolist()):
        raise DamagedFileError("it has two records of one name")
    for record in records.values():
        if not 0 <= record.header_offset <= size - record.file_size:
            raise DamagedFileError(f"its record {record.filename} lies outside of it")
        if record.compress_type != zipfile.ZIP_STORED or record.compress_size != record.file_size:
            raise DamagedFileError(f"its record {record.filename} is compressed")
    if sum(record.file_size for record in records.values()) > size:
        raise DamagedFileError("its records are larger than the file")
    return records
