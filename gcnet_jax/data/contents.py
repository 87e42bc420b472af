"""The table of contents that lies beside the shards of a data set."""

import json
from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from etils import epath

from gcnet_jax.config import MOST_IMAGE_PIXELS
from gcnet_jax.data.record_format import RecordFormat
from gcnet_jax.errors import InputError
from gcnet_jax.files import read_json, write_whole

CONTENTS = "contents.json"
"""Name of the file."""
_LARGEST_IDENTITY = (1 << 32) - 1

F = TypeVar("F", bound=RecordFormat)


class ShardContents(NamedTuple):
    """What the table of contents says of one shard.

    Attributes:
        fingerprint: tells the examples that it was made from.
        sizes: (height, width) of each image, in order.
        identities: the `identity` of each record; empty in data sets of an earlier time.
        counts: what the task has counted of its examples; None in data sets of an earlier time.
    """

    fingerprint: str
    sizes: list[tuple[int, int]]
    identities: Sequence[int]
    counts: Any


class Contents(NamedTuple, Generic[F]):
    """The table of contents of a data set, kept beside its shards.

    Attributes:
        record_format: how the records are stored.
        splits: the whole shards of each split, by their position.
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
            plain = read_json(path)
            described = record_format.from_plain(plain)
            return Contents(
                described,
                {
                    split: {int(i): _shard(shard, described) for i, shard in shards.items()}
                    for split, shards in plain["splits"].items()
                },
            )
        # An OverflowError comes of what JSON calls Infinity.
        except (
            OSError,
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            OverflowError,
        ) as error:
            raise InputError(
                f"{path} is missing or damaged ({error}); delete {folder} and prepare it again"
            ) from error

    def write(self, folder: epath.Path) -> None:
        """Writes the table, or leaves the one that was there."""
        counts = {split: self.counts(split) for split in self.splits}
        plain = {
            **self.record_format.to_plain(),
            "splits": {
                split: {index: _plain_shard(shard) for index, shard in shards.items()}
                for split, shards in self.splits.items()
            },
            # For readers of the file; the shards' counts are what is read back.
            **self.record_format.summary(
                {split: of_split for split, of_split in counts.items() if of_split is not None}
            ),
        }
        write_whole(folder / CONTENTS, json.dumps(plain))

    def sizes(self, split: str) -> list[tuple[int, int]]:
        """Returns (height, width) of every image of a split, in order."""
        shards = self.splits[split]
        return [size for index in sorted(shards) for size in shards[index].sizes]

    def counts(self, split: str) -> Any:
        """Returns the task's counts of a split; None if an earlier version did not count."""
        total = self.record_format.no_counts()
        for shard in self.splits[split].values():
            if shard.counts is None:
                return None
            total += shard.counts
        return total


def _shard(plain: dict[str, Any], record_format: RecordFormat) -> ShardContents:
    """Returns what JSON says of a shard; a KeyError, TypeError or ValueError if nothing."""
    sizes = [(height, width) for height, width in plain["sizes"]]
    identities, counts = plain.get("identities", ()), plain.get("counts")
    for size in sizes:
        height, width = (_whole(number, 1, MOST_IMAGE_PIXELS) for number in size)
        _whole(height * width, 1, MOST_IMAGE_PIXELS)
    if identities and len(identities) != len(sizes):
        raise ValueError(f"{len(identities)} identities of {len(sizes)} records")
    return ShardContents(
        str(plain["fingerprint"]),
        sizes,
        [_whole(number, 0, _LARGEST_IDENTITY) for number in identities],
        None if counts is None else record_format.counts_from_plain(counts),
    )


def _whole(number: Any, least: int, most: int) -> int:
    if type(number) is not int or not least <= number <= most:
        raise ValueError(f"{str(number)[:50]}; expected a whole number of {least} to {most}")
    return number


def _plain_shard(shard: ShardContents) -> dict[str, Any]:
    return {
        "fingerprint": shard.fingerprint,
        "sizes": shard.sizes,
        "identities": shard.identities,
        "counts": None if shard.counts is None else shard.counts.to_plain(),
    }
