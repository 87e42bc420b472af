"""Where the files of a tar lie in it, so that they can be read without unpacking it.

The largest releases are tars of tars of images: unpacked they would take their size once more, only
to be read once. Nothing is created on disk here, so that names cannot lead anywhere, and nothing
but headers is read, so that no archive takes more memory than its names.
"""

import os
import re
import tarfile
from collections.abc import Iterator
from typing import IO, NamedTuple

from etils import epath

from gcnet_jax.errors import InputError
from gcnet_jax.files import open_regular

_BLOCK = tarfile.BLOCKSIZE
_MOST_EXTENDED = 1 << 16  # bytes of an extended header
# What such a header may say that would make another file of the next; times and owners do not.
_CHANGES_FILE = re.compile(rb"^\d+ (path|size|linkpath|GNU\.sparse[^=]*)=", re.MULTILINE)


class Member(NamedTuple):
    """A file in a tar.

    Attributes:
        name: its path in the tar.
        offset: of its content, in bytes from the beginning of the outermost tar.
        size: of its content, in bytes.
    """

    name: str
    offset: int
    size: int


def members(archive: epath.Path, within: Member | None = None) -> Iterator[Member]:
    """Yields the files of an uncompressed tar, in their order.

    Args:
        archive: the tar.
        within: a file of it that is a tar too, whose files to yield instead.

    Raises:
        InputError: the archive is no tar, is cut off, or holds something else than regular files
            and folders of short names, such as links.
    """
    try:
        with open_regular(archive) as file:
            whole = Member("", 0, os.fstat(file.fileno()).st_size)
            yield from _scan(file, within or whole, archive)
    except OSError as error:
        raise InputError(f"{archive} cannot be read ({error.strerror or error})") from error


def read_member(archive: epath.Path, member: Member) -> bytes:
    """Returns the content of a file in a tar.

    Raises:
        InputError: the archive is gone, or shorter than it was.
    """
    try:
        with open_regular(archive) as file:
            file.seek(member.offset)
            content = file.read(member.size)
    except OSError as error:
        raise InputError(f"{archive} cannot be read ({error.strerror or error})") from error
    if len(content) != member.size:
        raise InputError(f"{archive} has been cut off: {member.name!r} is not whole; get it again")
    return content


def _scan(file: IO[bytes], within: Member, archive: epath.Path) -> Iterator[Member]:
    offset, end = within.offset, within.offset + within.size
    called = f"{archive}: {within.name!r}" if within.name else str(archive)
    while True:
        file.seek(offset)
        header = file.read(_BLOCK) if offset + _BLOCK <= end else b""
        if header == bytes(_BLOCK):  # two of them end a tar
            return
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise InputError(
                f"{called} is not a whole tar ({error} at byte {offset}), probably a partial "
                "download; get it again"
            ) from error
        is_file = info.type in (tarfile.REGTYPE, tarfile.AREGTYPE)
        is_extended = info.type in (tarfile.XHDTYPE, tarfile.XGLTYPE)
        if info.size < 0 or not (is_file or is_extended or info.type == tarfile.DIRTYPE):
            raise _refused(called, f"{info.name!r} is neither a regular file nor a folder")
        offset += _BLOCK
        size = 0 if info.type == tarfile.DIRTYPE else info.size
        if is_extended and (size > _MOST_EXTENDED or _CHANGES_FILE.search(file.read(size))):
            raise _refused(called, f"a header at byte {offset} gives a file a longer name or size")
        if is_file:  # which may be cut off: then there is no header behind it
            yield Member(info.name, offset, size)
        offset += -(-size // _BLOCK) * _BLOCK


def _refused(called: str, reason: str) -> InputError:
    return InputError(
        f"{called} is refused: {reason}; if you trust it, unpack it by other means and give that "
        "folder as the source"
    )
