"""The table of contents that lies beside the shards of a data set."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Generic, NamedTuple, Self, TypeVar

import numpy as np
from etils import epath
from jaxtyping import Int32, UInt32

from gcnet_jax.config import MOST_IMAGE_PIXELS
from gcnet_jax.data.record_format import RecordFormat
from gcnet_jax.errors import InputError
from gcnet_jax.files import read_regular, write_whole

CONTENTS = "contents.json"
"""Name of the file."""

# What reading JSON of something else raises; an OverflowError comes of what it calls Infinity.
DAMAGED = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
)
_LARGEST_IDENTITY = (1 << 32) - 1

F = TypeVar("F", bound=RecordFormat)


class ShardContents(NamedTuple):
    """What the table of contents says of one shard.

    Attributes:
        fingerprint: tells the examples that it was made from; see `examples.fingerprint`.
        sizes: (height, width) of each image, in order.
        identities: the `identity` of each record; empty in data sets of an earlier time.
        counts: what the task has counted of its examples; None in data sets of an earlier time.
    """

    fingerprint: str
    sizes: Int32[np.ndarray, "n 2"]
    identities: UInt32[np.ndarray, " n"]
    counts: Any

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any], record_format: RecordFormat) -> Self:
        """Returns what JSON says of a shard.

        Raises:
            KeyError, TypeError, ValueError or OverflowError: if it says something else.
        """
        sizes = _whole_numbers(plain["sizes"], 1, MOST_IMAGE_PIXELS)
        if sizes.size and sizes.shape != (len(sizes), 2):
            raise ValueError(f"sizes of shape {sizes.shape}; expected pairs")
        _whole_numbers(sizes.prod(-1), 1, MOST_IMAGE_PIXELS)
        identities = _whole_numbers(plain.get("identities", ()), 0, _LARGEST_IDENTITY)
        if identities.size and identities.shape != (len(sizes),):
            raise ValueError(f"{identities.shape} identities of {len(sizes)} records")
        counts = plain.get("counts")
        return cls(
            str(plain["fingerprint"]),
            sizes.astype(np.int32).reshape(-1, 2),
            identities.astype(np.uint32),
            None if counts is None else record_format.counts_from_plain(counts),
        )

    def to_plain(self) -> dict[str, Any]:
        """Returns JSON from which `from_plain` makes the same."""
        return {
            "fingerprint": self.fingerprint,
            "sizes": self.sizes.tolist(),
            "identities": self.identities.tolist(),
            "counts": None if self.counts is None else self.counts.to_plain(),
        }


class Contents(NamedTuple, Generic[F]):
    """The table of contents of a data set, kept beside its shards.

    Attributes:
        record_format: how the records are stored.
        splits: the shards of each split, by their position.
    """

    record_format: F
    splits: dict[str, dict[int, ShardContents]]

    @classmethod
    def read(cls, folder: epath.Path, record_format: type[F]) -> "Contents[F]":
        """Reads the table of a folder.

        Args:
            folder: of the data set.
            record_format: the task's.

        Raises:
            InputError: if it is missing or damaged.
        """
        path = folder / CONTENTS
        try:
            plain = json.loads(read_regular(path), object_hook=_compact)
            described = record_format.from_plain(plain)
            return Contents(
                described,
                {
                    split: {
                        int(index): ShardContents.from_plain(shard, described)
                        for index, shard in shards.items()
                    }
                    for split, shards in plain["splits"].items()
                },
            )
        except DAMAGED as error:
            raise InputError(
                f"{path} is missing or damaged ({error}); delete {folder} and prepare it again"
            ) from error

    def write(self, folder: epath.Path) -> None:
        """Writes the table, or leaves the one that was there."""
        counts = {split: self.counts(split) for split in self.splits}
        described = {
            **self.record_format.to_plain(),
            # For readers of the file; the shards' counts are what is read back.
            **self.record_format.summary(
                {split: of_split for split, of_split in counts.items() if of_split is not None}
            ),
        }
        # Shard by shard: as objects of Python the numbers of a million images are gigabytes.
        splits = _json_object(
            {
                split: _json_object(
                    {index: json.dumps(shards[index].to_plain()) for index in sorted(shards)}
                )
                for split, shards in self.splits.items()
            }
        )
        values = {key: json.dumps(value) for key, value in described.items()}
        write_whole(folder / CONTENTS, _json_object({**values, "splits": splits}))

    def sizes(self, split: str) -> Int32[np.ndarray, "n 2"]:
        """Returns (height, width) of every image of a split, in order."""
        shards = self.splits[split]
        return np.concatenate(
            [np.empty((0, 2), np.int32), *(shards[index].sizes for index in sorted(shards))]
        )

    def shard_lengths(self, split: str) -> list[int]:
        """Returns the number of records in each shard of a split, in order."""
        shards = self.splits[split]
        return [len(shards[index].sizes) for index in sorted(shards)]

    def counts(self, split: str) -> Any:
        """Returns the task's counts of a split; None if an earlier version did not count."""
        total = self.record_format.no_counts()
        shards = self.splits[split]
        for index in sorted(shards):  # a task may count each image, in order
            if shards[index].counts is None:
                return None
            total += shards[index].counts
        return total


def _json_object(values: Mapping[Any, str]) -> str:
    """Returns a JSON object of values that are JSON already."""
    entries = (f"{json.dumps(str(key))}: {value}" for key, value in values.items())
    return f"{{{', '.join(entries)}}}"


def _compact(plain: dict[str, Any]) -> dict[str, Any]:
    """Makes arrays of the numbers of a shard while the rest of the table is still being read.

    As objects of Python they take ten times the memory. Those of one shard at a time are no matter.
    """
    if "fingerprint" in plain:
        for key in plain.keys() & {"sizes", "identities"}:
            plain[key] = np.array(plain[key])
    return plain


def _whole_numbers(values: Sequence[Any] | np.ndarray, least: int, most: int) -> np.ndarray:
    """Returns values as an array of integers.

    Raises:
        ValueError: if others are among them.
    """
    array = np.array(values)
    if array.size and not (
        array.dtype.kind in "iu" and least <= array.min() and array.max() <= most
    ):
        raise ValueError(f"not only whole numbers of {least} to {most}")
    return array.astype(np.int64)
