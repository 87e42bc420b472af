"""The records of one split of a prepared data set, each checked to be the one that was prepared."""

import bisect
import functools
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from gcnet_jax.config import brief_reason
from gcnet_jax.data.contents import Contents, ShardContents
from gcnet_jax.data.folders import prepare_again
from gcnet_jax.data.record_format import RecordFormat, deserialize, identity
from gcnet_jax.errors import InputError
from gcnet_jax.files import in_bucket, read_json

R = TypeVar("R")


def spread_over(indices: Sequence[int], number: int) -> list[int]:
    """Up to so many of some indices of a split, the first and others at even distances."""
    number = min(number, len(indices))
    return [indices[i * len(indices) // number] for i in range(number)]


class Split(Generic[R]):
    """The records of one split, read when indexed. Pickles to 12 bytes a record.

    Args:
        source: the bytes of each record.
        record_format: how they are stored.
        folder: the data set's.
        files: names of the files that hold the records, in order.
        shards: what the table of contents says of each file.
        remedy: what to do where one of them is damaged.
    """

    def __init__(
        self,
        source: Sequence[bytes],
        record_format: type[RecordFormat],
        folder: epath.Path,
        files: Sequence[str],
        shards: Sequence[ShardContents],
        remedy: str,
    ):
        self._source = source
        self._record_format = record_format
        self._folder = folder
        self._files = files
        self._remedy = remedy
        self._ends = list(itertools.accumulate(len(shard.sizes) for shard in shards))
        # Both are arrays, for workers get them pickled.
        self._sizes = [shard.sizes for shard in shards]
        self._identities = [shard.identities for shard in shards]

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __iter__(self) -> Iterator[R]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> R:
        """Reads one record.

        Raises:
            IndexError: if there is no such record.
            InputError: if the file it is in has been damaged, or is not the one that was prepared.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of a split of {len(self)}")
        shard = bisect.bisect_right(self._ends, index)
        position = index - self._ends[shard]  # from the shard's end
        identities = self._identities[shard]  # none in data sets of an earlier time
        try:
            serialized = self._source[index]
        # What array_record raises on a wrong checksum, a bucket's refusal, a file of another kind.
        except (RuntimeError, ValueError, IndexError) as error:
            raise self._unreadable(index, str(error)) from error
        if not serialized:  # which is what it finds where an open file has been cut
            raise self._unreadable(index, "nothing is there")
        if len(identities) and identities[position] != identity(serialized):
            raise self._replaced(index)
        try:
            record = deserialize(self._record_format, serialized)
        except Exception as error:  # of protocol buffers and of TFDS, of several kinds
            raise self._unreadable(index, "it is no record of this library") from error
        if any(value is None for value in record.values()):
            raise self._unreadable(index, "it is no record of this library")
        if not np.array_equal(record["size"], self._sizes[shard][position]):
            raise self._replaced(index)
        return record

    def _unreadable(self, index: int, reason: str) -> InputError:
        return InputError(
            f"record {index} cannot be read ({reason}) from {self._file(index)}; {self._remedy}"
        )

    def _replaced(self, index: int) -> InputError:
        return InputError(
            f"record {index} is not the one that was prepared: another file is in the place of "
            f"{self._file(index)}; {self._remedy}"
        )

    def _file(self, index: int) -> epath.Path:
        return self._folder / self._files[bisect.bisect_right(self._ends, index)]


# Opening -----------------------------------------------------------------------------------------


def open_in_folder(folder: epath.Path, contents: Contents, split: str) -> Split[Any]:
    """Opens one split in the folder of a whole data set for random access.

    Args:
        folder: of the data set; its features have been checked.
        contents: the table of contents of that folder.
        split: one that the table has.

    Returns:
        The records, of which images are still encoded.

    Raises:
        InputError: if files of the set are missing or not what this library has written.
    """
    try:
        builder = tfds.builder_from_directory(folder)
        info = builder.info.splits[split]
    except Exception as error:  # several, of JSON and of protocol buffers
        raise _damaged_description(folder, brief_reason(error)) from error
    written = contents.splits[split]
    shards = [written[index] for index in sorted(written)]
    if contents.shard_lengths(split) != list(info.shard_lengths):
        raise _damaged_description(folder, "it has other numbers of records than contents.json")
    _check_files(folder, info.filenames)
    try:
        source: Any = builder.as_data_source(
            split,  # pyright: ignore[reportCallIssue] TFDS decorates the signature away
            deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES,
        )
    except Exception as error:  # such as of a format that cannot be read by index
        raise _damaged_description(folder, brief_reason(error)) from error
    record_format, remedy = type(contents.record_format), prepare_again(folder)
    return Split(source, record_format, folder, info.filenames, shards, remedy)


def check_features(folder: epath.Path, record_format: type[RecordFormat]) -> None:
    """Checks that a folder describes its features as those of a format, before TFDS reads that.

    TFDS imports each module that the description names.

    Raises:
        InputError: if it describes others, or none.
    """
    try:
        found = read_json(folder / "features.json")
    except (OSError, ValueError) as error:
        raise _damaged_description(folder, brief_reason(error)) from error
    if found != _described_features(record_format):
        raise InputError(
            f"{folder / 'features.json'} describes other features than this library stores; "
            f"{prepare_again(folder)}"
        )


@functools.cache
def _described_features(record_format: type[RecordFormat]) -> Any:
    """Returns the features of a format as TFDS writes them down."""
    with tempfile.TemporaryDirectory() as folder:
        record_format.FEATURES.save_config(folder)
        return read_json(epath.Path(folder) / "features.json")


def _check_files(folder: epath.Path, names: Sequence[str]) -> None:
    """Raises InputError unless all files of a split are in the folder, and are files."""
    there = {file.name for file in folder.iterdir()}
    for name in sorted(names):
        if name not in there:
            raise InputError(f"{folder / name} is missing; {prepare_again(folder)}")
        if not in_bucket(folder) and not Path(folder, name).is_file():
            raise InputError(f"{folder / name} is no regular file; {prepare_again(folder)}")


def _damaged_description(folder: epath.Path, reason: str) -> InputError:
    return InputError(f"the description of {folder} is damaged ({reason}); {prepare_again(folder)}")
