"""Paths that a user gives, on a disk or in a bucket; reading files; writing them whole.

Buckets are those of Google Cloud Storage (`gs://`). They know no folders, no appending and no
renaming; an object appears when all of it has been sent.
"""

import contextlib
import fnmatch
import functools
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from etils import epath
from etils.epath.gpath import PosixGPath

from gcnet_jax.errors import InputError

_BUCKET = "gs://"
_PROBED = 1 << 20  # bytes: about what a picture takes


class LiteralPath(PosixGPath):
    """A path of which no part is a pattern, whatever characters it has.

    The class that it is made from lists files by `FOLDER/PATTERN` as one pattern. Orbax and TFDS
    find their own files by that, and would miss those in a folder called `w[a]z`, or take those of
    `w1` for those of `w?`.
    """

    def glob(self, pattern: str) -> Iterator["LiteralPath"]:
        """Yields what lies in this folder under names that match a pattern, level by level.

        Raises:
            NotImplementedError: the pattern has `**`.
        """
        if "**" in pattern:
            raise NotImplementedError(f"{pattern}: folders of any depth are not looked into")
        found = [self]
        for part in pattern.split("/"):
            inside = [path for folder in found if folder.is_dir() for path in folder.iterdir()]
            found = [path for path in inside if fnmatch.fnmatchcase(path.name, part)]
        return iter(found)


def as_path(path: epath.PathLike) -> epath.Path:
    """The path that a user has given, once it is clear that it leads somewhere.

    Args:
        path: local, or `gs://BUCKET/...`.

    Raises:
        InputError: it is no path, is empty or of another kind of storage, its bucket is not there
            or may not be seen, or what reads buckets is not installed.
    """
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"{path!r} is a {type(path).__name__}; expected a path")
    text = os.fspath(path)
    if not text:
        raise InputError("a path is empty; expected a file or a folder, or . for the current one")
    if not in_bucket(path):
        # As a local path it would be a folder called "gs:" or "s3:".
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text):
            raise InputError(f"{text} is neither a local path nor gs://BUCKET/...")
        if re.match(r"/(gs|s3|az|hf)(/|$)", str(Path(text).absolute())):  # epath's own way to write
            raise InputError(
                f"{text} lies in a folder that is taken for a bucket; use another, or a link to it"
            )
        return LiteralPath(path)
    _check_bucket(text.removeprefix(_BUCKET).partition("/")[0])
    return LiteralPath(path)


def in_bucket(path: epath.PathLike) -> bool:
    """Whether a path leads into a bucket."""
    return os.fspath(path).startswith(_BUCKET)


def local(path: epath.PathLike, advice: str) -> epath.Path:
    """A local path, checked as `as_path` does: for what needs locks, links or renaming.

    Args:
        path: local, or on a mounted file system.
        advice: what to do where only a bucket is at hand.

    Raises:
        InputError: it leads into a bucket.
    """
    if in_bucket(path):
        raise InputError(f"{os.fspath(path)} is in a bucket; expected a local folder: {advice}")
    return as_path(path)


def absolute(path: epath.PathLike) -> epath.Path:
    """A path from the root of its file system, checked as `as_path` does."""
    found = as_path(path)
    return found if in_bucket(found) else found.resolve()


def open_regular(path: epath.PathLike) -> IO[bytes]:
    """A file, opened for reading, that is a file and nothing else by that name.

    Whoever opens a pipe waits until somebody writes to it, and a device can give bytes for ever.

    Args:
        path: of the file.

    Raises:
        InputError: it is a folder, a pipe, a socket or a device.
        OSError: it cannot be opened.
    """
    if in_bucket(path):
        return epath.Path(path).open("rb")
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return open(descriptor, "rb")  # noqa: PTH123, of a descriptor
    os.close(descriptor)
    raise InputError(f"{os.fspath(path)} is no regular file; expected one")


def read_regular(path: epath.PathLike) -> bytes:
    """The content of a file; see `open_regular`."""
    with open_regular(path) as file:
        return file.read()


def read_json(path: epath.PathLike) -> Any:
    """What a JSON file holds; see `open_regular`.

    Raises:
        ValueError: it holds no JSON in UTF-8, or lists in lists without end.
        OSError: it cannot be opened.
    """
    try:
        return json.loads(read_regular(path))
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def as_utf8(path: epath.Path) -> epath.Path:
    """The path itself, for libraries that take no others.

    Raises:
        InputError: its name is not UTF-8, as names made under other settings can be.
    """
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError as error:
        shown = os.fspath(path).encode(errors="backslashreplace").decode()
        raise InputError(f"the name {shown} is not UTF-8; use another folder") from error
    return path


def write_whole(path: epath.PathLike, content: str | bytes | IO[bytes]) -> None:
    """Writes a file that appears under its name when it is whole, in place of one that is there.

    Only one process at a time may write a file.

    Args:
        path: of the file, in a folder that is there.
        content: all of it; text is stored as UTF-8, and an open file is read to its end.

    Raises:
        InputError: it cannot be written; what was there before is still there.
    """
    path = epath.Path(path)
    encoded = content.encode() if isinstance(content, str) else content
    partial = path if in_bucket(path) else path.with_name(f".{path.name}.partial")
    try:
        if isinstance(encoded, bytes):
            partial.write_bytes(encoded)
        elif partial == path:  # a bucket would keep what was sent before something failed
            path.write_bytes(encoded.read())
        else:
            with partial.open("wb") as file:
                shutil.copyfileobj(encoded, file)
        if partial != path:
            partial.replace(path)
    except Exception as error:  # of a bucket, what comes depends on the library that reads it
        if partial != path:
            with contextlib.suppress(OSError):  # which says the same of a disk that is read-only
                partial.unlink(missing_ok=True)
        raise InputError(f"{path} cannot be written ({_reason(error)})") from error


def check_writable(folder: epath.PathLike) -> None:
    """Makes a folder, and shows by a file of a mebibyte that files can be made in it.

    Raises:
        InputError: they cannot.
    """
    folder = epath.Path(folder)
    probe = folder / f".writable.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_bytes(bytes(_PROBED))
        finally:
            probe.unlink(missing_ok=True)
    except Exception as error:
        raise InputError(f"no files can be written in {folder} ({_reason(error)})") from error


@functools.cache  # asked once a process: a bucket's answer takes a while
def _check_bucket(bucket: str) -> None:
    root = epath.Path(f"{_BUCKET}{bucket}")
    try:
        found = bool(bucket) and root.exists()
    except ImportError as error:
        raise InputError(
            f"{_BUCKET}{bucket} needs gcsfs: pip install 'gcnet-jax[gcs]' ({_reason(error)})"
        ) from error
    except Exception as error:  # of credentials, the network and the storage
        raise InputError(f"bucket {root} cannot be reached ({_reason(error)})") from error
    if not found:
        raise InputError(f"there is no bucket {_BUCKET}{bucket}, or it may not be seen from here")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
