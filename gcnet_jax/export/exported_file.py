"""The exported file: a zip of metadata, weights and programs, none of which is code of Python.

    metadata.json                  what the network is, and what its programs take and return
    weights/NAME.npy               the arrays of the network, each in NumPy's format
    programs/NAME.jaxexport        programs without weights, as `jax.export` serializes them

Nothing in it is compressed: what a reader holds in memory is never larger than the file. What is
not as it should be is refused before anything is made of it.
"""

import io
import json
import math
import tempfile
import zipfile
from typing import IO, Any, NamedTuple

import numpy as np
from etils import epath
from jaxtyping import Shaped

from gcnet_jax.errors import InputError
from gcnet_jax.files import open_regular, write_whole

FORMAT = "gcnet_jax exported network"
FORMAT_VERSION = 1

_METADATA, _WEIGHTS, _PROGRAMS = "metadata.json", "weights/", "programs/"
_ARRAY, _PROGRAM = ".npy", ".jaxexport"
_BEGINNING_OF_ZIP, _LENGTH_OF_HEADER = b"PK\x03\x04", 30  # of an entry, before its name
_FIRST_DAY = (1980, 1, 1, 0, 0, 0)  # of zip files, which say when each entry was changed
_MOST_ENTRIES = 10_000
_MOST_BYTES = {_METADATA: 2**24, _PROGRAMS: 2**28}


class ExportedFile(NamedTuple):
    """What an exported file holds.

    Attributes:
        metadata: plain JSON.
        weights: by their names in the network.
        programs: serialized, by the names that the metadata calls them by.
    """

    metadata: dict[str, Any]
    weights: dict[str, Shaped[np.ndarray, "..."]]
    programs: dict[str, bytes]


def write_exported(path: epath.PathLike, content: ExportedFile) -> None:
    """Writes an exported file, which appears under its name when it is whole.

    Raises:
        InputError: it cannot be written; what was there before is still there.
    """
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:

            def write(name: str, entry: bytes | str) -> None:
                archive.writestr(zipfile.ZipInfo(name, _FIRST_DAY), entry)

            write(_METADATA, json.dumps(content.metadata, indent=1) + "\n")
            for name, program in content.programs.items():
                write(f"{_PROGRAMS}{name}{_PROGRAM}", program)
            for name, array in content.weights.items():
                encoded = io.BytesIO()
                np.lib.format.write_array(encoded, np.asarray(array), allow_pickle=False)
                write(f"{_WEIGHTS}{name}{_ARRAY}", encoded.getvalue())
        file.seek(0)
        write_whole(path, file)


def is_exported(path: epath.Path) -> bool:
    """Whether a file is an exported one by its first entry or its table of contents.

    The table lies at the end: a file that breaks off has none.
    """
    try:
        with open_regular(path) as file:
            beginning = file.read(_LENGTH_OF_HEADER + len(_METADATA))
            if beginning.startswith(_BEGINNING_OF_ZIP) and beginning.endswith(_METADATA.encode()):
                return True
            with zipfile.ZipFile(file) as archive:
                return _METADATA in archive.namelist()
    except (InputError, OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return False


def read_exported(path: epath.Path) -> ExportedFile:
    """Reads an exported file.

    Raises:
        InputError: it cannot be read, is damaged, or is no file that this version of the library
            knows.
    """
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            _check_entries(entries, _length(file))
            metadata = _metadata(archive.read(_METADATA))
            return ExportedFile(
                metadata,
                {
                    name: _array(archive.read(entry), entry.filename)
                    for name, entry in _named(entries, _WEIGHTS, _ARRAY).items()
                },
                {
                    name: archive.read(entry)
                    for name, entry in _named(entries, _PROGRAMS, _PROGRAM).items()
                },
            )
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error})") from error
    except (ValueError, KeyError, EOFError, RecursionError, NotImplementedError,
            RuntimeError, zipfile.BadZipFile) as error:  # fmt: skip
        raise InputError(f"{path} is damaged, or no exported file ({error})") from error


def _length(file: IO[bytes]) -> int:
    file.seek(0, io.SEEK_END)
    return file.tell()


def _check_entries(entries: list[zipfile.ZipInfo], length: int) -> None:
    """Raises InputError unless all that is to be read is as large as it lies in the file."""
    if len(entries) > _MOST_ENTRIES:
        raise InputError(f"it has {len(entries)} entries; expected at most {_MOST_ENTRIES}")
    names = [entry.filename for entry in entries]
    if len(set(names)) < len(names):
        raise InputError("two of its entries have one name")
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED:
            raise InputError(f"its entry {entry.filename} is compressed; expected it as it is")
        for start, most in _MOST_BYTES.items():
            if entry.filename.startswith(start) and entry.file_size > most:
                raise InputError(
                    f"its entry {entry.filename} has {entry.file_size} bytes; expected up to {most}"
                )
    if sum(entry.file_size for entry in entries) > length:
        raise InputError("its entries are larger than the file")


def _named(entries: list[zipfile.ZipInfo], start: str, end: str) -> dict[str, zipfile.ZipInfo]:
    return {
        entry.filename.removeprefix(start).removesuffix(end): entry
        for entry in entries
        if entry.filename.startswith(start) and entry.filename.endswith(end)
    }


def _metadata(encoded: bytes) -> dict[str, Any]:
    metadata = json.loads(encoded)
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise InputError(f"its metadata.json does not say that it is of {FORMAT!r}")
    version = metadata.get("format_version")
    if version != FORMAT_VERSION:
        raise InputError(
            f"it is of the format's version {version!r}; this version of the library reads "
            f"{FORMAT_VERSION}"
        )
    return metadata


def _array(encoded: bytes, name: str) -> Shaped[np.ndarray, "..."]:
    """An array in NumPy's format, without what would have NumPy run or reserve anything."""
    file = io.BytesIO(encoded)
    if np.lib.format.read_magic(file) != (1, 0):
        raise InputError(f"its entry {name} is no array as this library writes it")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
    content = encoded[file.tell() :]
    if dtype.hasobject or fortran_order or dtype.kind not in "biuf":
        raise InputError(f"its entry {name} is no plain array of numbers")
    if math.prod(shape) * dtype.itemsize != len(content):
        raise InputError(f"its entry {name} has {len(content)} bytes; {shape} {dtype} needs others")
    array = np.frombuffer(content, dtype).reshape(shape)
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"its entry {name} has values that are not finite")
    return array
