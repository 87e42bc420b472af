"""The records of one split of a prepared data set, each checked to be the one that was prepared."""

import bisect
import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from etils import epath

from gcnet_jax.data.contents import ShardContents
from gcnet_jax.data.records import Record, deserialize, identity
from gcnet_jax.errors import InputError

_UNKNOWN = -1  # the identity of a record that was prepared when none was noted


class Split:
    """The records of one split, read when indexed. Pickles to a few kilobytes.

    Args:
        source: the bytes of each record.
        folder: the data set's.
        files: names of the files that hold the records, in order.
        shards: what the table of contents says of each file.
        remedy: what to do where one of them is damaged.
    """

    def __init__(
        self,
        source: Sequence[bytes],
        folder: epath.Path,
        files: Sequence[str],
        shards: Sequence[ShardContents],
        remedy: str,
    ):
        self._source = source
        self._folder = folder
        self._files = files
        self._remedy = remedy
        self._ends = list(itertools.accumulate(len(shard.sizes) for shard in shards))
        self._sizes = np.array([size for shard in shards for size in shard.sizes], np.int32)
        self._identities = np.array(
            [x for shard in shards for x in shard.identities or [_UNKNOWN] * len(shard.sizes)],
            np.int64,
        )

    def __len__(self) -> int:
        return len(self._sizes)

    def __iter__(self) -> Iterator[Record]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Record:
        """Reads one record.

        Raises:
            IndexError: if there is no such record.
            InputError: if the file it is in has been damaged, or is not the one that was prepared.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of a split of {len(self)}")
        try:
            serialized = self._source[index]
        # What array_record raises on a wrong checksum, a bucket's refusal, a file of another kind.
        except (RuntimeError, ValueError, IndexError) as error:
            raise self._unreadable(index, str(error)) from error
        if not serialized:  # which is what it finds where an open file has been cut
            raise self._unreadable(index, "nothing is there")
        if self._identities[index] not in (_UNKNOWN, identity(serialized)):
            raise self._replaced(index)
        try:
            record = deserialize(serialized)
        except Exception as error:  # of protocol buffers and of TFDS, of several kinds
            raise self._unreadable(index, "it is no record of this library") from error
        if any(value is None for value in record.values()):
            raise self._unreadable(index, "it is no record of this library")
        if not np.array_equal(record["size"], self._sizes[index]):
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
