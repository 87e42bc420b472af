"""Unpacking archives that may be anybody's: regular files and folders, below one folder, so much.

Archives can say that their files go elsewhere, directly or through links that they bring along, and
a small one can hold more than any disk. What Python's own unpacking lets through depends on its
version: here nothing is created but folders and files of plain names, and links not at all, so that
no name leads out of the folder, however it is put together.
"""

import gzip
import io
import os
import shutil
import stat
import zipfile
from collections.abc import Callable
from tarfile import (
    EOFHeaderError,  # pyright: ignore[reportAttributeAccessIssue] of the stubs, which lack it
    HeaderError,
    ReadError,
    TarFile,
    TarInfo,
)
from typing import IO, BinaryIO, cast

import rich.progress
from etils import epath
from rich.console import Console

from gcnet_jax.errors import InputError
from gcnet_jax.files import open_regular

_MOST_PARTS = 32  # of a name: deeper trees cannot be removed on every Python
_MOST_HEADER = 1 << 20  # bytes between two files of a tar, which are taken into memory at once
_BLOCK = 4096  # bytes on disk that the smallest file takes
# Images hardly become smaller by packing, tables of text five times.
_MOST_TIMES, _MOST_BYTES = 20, 1 << 30
_TAR_BUFFER = 1 << 18


def unpack(archive: epath.Path, folder: epath.Path, console: Console) -> None:
    """Unpacks a zip, a tar or a compressed tar (`.tgz`).

    Args:
        archive: of which the suffix `.zip` tells one kind from the other two.
        folder: an empty one; after an error some files are in it.
        console: for the progress bar.

    Raises:
        InputError: the archive is not whole; it holds something else than regular files and
            folders; a name leads out of the folder; all of it together is far larger than such
            archives are; it is encrypted or compressed in a way that is not known; or it cannot be
            written.
    """
    try:
        with open_regular(archive) as file:
            size = os.fstat(file.fileno()).st_size
            compressed = archive.suffix != ".zip" and file.read(2) == b"\x1f\x8b"
            file.seek(0)
            with rich.progress.wrap_file(
                cast(BinaryIO, file), size, description=f"Unpacking {archive.name}", console=console
            ) as shown:
                allowed = _Allowance(_MOST_BYTES + _MOST_TIMES * size)
                if archive.suffix == ".zip":
                    _unpack_zip(shown, folder, allowed)
                elif compressed:
                    with gzip.GzipFile(fileobj=shown) as stream:
                        _unpack_tar(cast(BinaryIO, stream), folder, allowed)
                else:
                    _unpack_tar(shown, folder, allowed)
    except InputError:
        raise
    except _Refused as error:
        raise InputError(
            f"{archive} is refused: {error}; if you trust it, unpack it by other means and give "
            "that folder as the source"
        ) from error
    except Exception as error:
        # A damaged archive raises whatever its bytes happen to mean; gzip's error is an OSError.
        if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile):
            raise InputError(
                f"{archive} cannot be unpacked into {folder.parent} ({error})"
            ) from error
        raise InputError(
            f"{archive} is not a whole archive, probably a partial download ({error}); "
            "download it again"
        ) from error


class _Refused(Exception):
    """An archive holds what is not unpacked."""


class _Allowance:
    """How many bytes an archive may still take on disk."""

    def __init__(self, left: int):
        self._left = left

    def take(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise _Refused(
                f"it holds more than {_MOST_TIMES} times its size and {_MOST_BYTES >> 20} MiB"
            )


def _unpack_zip(file: BinaryIO, folder: epath.Path, allowed: _Allowance) -> None:
    with zipfile.ZipFile(file) as zipped:
        members = zipped.infolist()
        for member in members:  # no more can come out of each than it says
            allowed.take(_BLOCK + member.file_size)
        for member in members:
            kind = stat.S_IFMT(member.external_attr >> 16)  # of Unix; other systems leave it 0
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _Refused(f"{member.filename!r} is neither a regular file nor a folder")
            if member.flag_bits & 0x1:
                raise _Refused(f"{member.filename!r} is encrypted")
            try:
                _create(folder, member.filename, member.is_dir(), lambda m=member: zipped.open(m))
            except NotImplementedError as error:
                raise _Refused(
                    f"{member.filename!r} is compressed by method {member.compress_type}, which is "
                    f"not known here ({error})"
                ) from error


def _unpack_tar(file: BinaryIO, folder: epath.Path, allowed: _Allowance) -> None:
    stream = _TarStream(file, allowed)
    # As a stream it cannot go back: sizes below zero would have it read the same header for ever.
    with TarFile.open(fileobj=stream, mode="r|", bufsize=_TAR_BUFFER, tarinfo=_Member) as tar:
        while True:
            stream.expects_headers()
            member = tar.next()
            if member is None:
                break
            allowed.take(_BLOCK)
            if not member.isdir() and (not member.isreg() or member.issparse() or member.size < 0):
                raise _Refused(f"{member.name!r} is neither a regular file nor a folder")
            stream.expects_content()
            _create(folder, member.name, member.isdir(), lambda m=member: tar.extractfile(m))
    stream.expects_content()
    while stream.read(_TAR_BUFFER):  # gzip's checksum of all comes at the very end
        pass


class _Member(TarInfo):
    """A member of a tar; Python takes a damaged header for the end of the archive."""

    @classmethod
    def fromtarfile(cls, tarfile: TarFile) -> "_Member":
        try:
            return super().fromtarfile(tarfile)
        except EOFHeaderError:
            raise
        except HeaderError as error:
            raise ReadError(f"{error} at byte {tarfile.offset}") from error


class _TarStream(io.RawIOBase):
    """What a tar is read from: it counts, and takes no more into memory than a header can need."""

    def __init__(self, file: BinaryIO, allowed: _Allowance):
        self._file = file
        self._allowed = allowed
        self._header: int | None = None  # bytes left for it; None: within a file's content

    def expects_headers(self) -> None:
        self._header = _MOST_HEADER

    def expects_content(self) -> None:
        self._header = None

    def read(self, size: int = -1, /) -> bytes:
        content = self._file.read(size)
        self._allowed.take(len(content))
        if self._header is not None:
            self._header -= len(content)
            if self._header < 0:
                raise _Refused(f"a header has more than {_MOST_HEADER >> 20} MiB")
        return content


def _create(
    folder: epath.Path, name: str, is_folder: bool, content: Callable[[], IO[bytes] | None]
) -> None:
    """Creates a folder or a file with some content, below a folder."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\0" in name or not (parts or is_folder):
        raise _Refused(f"{name!r} does not lie below the folder that it is unpacked in")
    if len(parts) > _MOST_PARTS:
        raise _Refused(f"{name[:100]!r} and so on lies {len(parts)} folders deep")
    target = folder.joinpath(*parts)
    if is_folder:
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    opened = content()
    assert opened is not None  # for regular files it never is
    with opened, target.open("wb") as file:
        shutil.copyfileobj(opened, file, _TAR_BUFFER)
