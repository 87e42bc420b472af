"""The table of contents that lies beside the shards of a data set, and where data sets lie."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from etils import epath

from gcnet_jax.config import MOST_IMAGE_PIXELS, PIXELS, Pixels
from gcnet_jax.data.catalog import DatasetClasses
from gcnet_jax.data.label_counts import LabelCounts
from gcnet_jax.errors import InputError
from gcnet_jax.files import as_path, as_utf8, read_json, write_whole

VERSION = "2.0.0"
"""Version of the stored format, which is also the name of the folder that TFDS looks for."""

CONTENTS = "contents.json"
"""Name of the file."""
_LARGEST_IDENTITY = (1 << 32) - 1


class ShardContents(NamedTuple):
    """What the table of contents says of one shard.

    Attributes:
        fingerprint: tells the examples that it was made from.
        sizes: (height, width) of each image, in order.
        identities: the `identity` of each record; empty in data sets of an earlier time.
        counts: what its labels hold; None in data sets of an earlier time.
    """

    fingerprint: str
    sizes: list[tuple[int, int]]
    identities: Sequence[int]
    counts: LabelCounts | None


class Contents(NamedTuple):
    """The table of contents of a data set, kept beside its shards.

    Attributes:
        pixels: how images and labels are stored.
        classes: the classes.
        splits: the whole shards of each split, by their position.
    """

    pixels: Pixels
    classes: DatasetClasses
    splits: dict[str, dict[int, ShardContents]]

    @classmethod
    def read(cls, folder: epath.Path) -> "Contents":
        """Reads the table of a folder.

        Raises:
            InputError: if it is missing or damaged.
        """
        path = folder / CONTENTS
        try:
            plain = read_json(path)
            classes = DatasetClasses.from_plain(plain["classes"])
            if plain["pixels"] not in PIXELS:
                raise ValueError(f"pixels are {plain['pixels']!r}; expected one of {PIXELS}")
            return cls(
                pixels=plain["pixels"],
                classes=classes,
                splits={
                    split: {
                        int(i): _shard(shard, classes.num_classes) for i, shard in shards.items()
                    }
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
        plain: dict[str, Any] = {
            "pixels": self.pixels,
            "classes": self.classes.to_plain(),
            "splits": {
                split: {index: _plain_shard(shard) for index, shard in shards.items()}
                for split, shards in self.splits.items()
            },
            # For readers of the file; the shards' counts are what is read back.
            "labels": {
                split: counts.by_name(self.classes.names)
                for split in self.splits
                if (counts := self.label_counts(split)) is not None
            },
        }
        write_whole(folder / CONTENTS, json.dumps(plain))

    def sizes(self, split: str) -> list[tuple[int, int]]:
        """Returns (height, width) of every image of a split, in order."""
        shards = self.splits[split]
        return [size for index in sorted(shards) for size in shards[index].sizes]

    def label_counts(self, split: str) -> LabelCounts | None:
        """Returns what the labels of a split hold; None if an earlier version did not count."""
        total = LabelCounts.nothing(self.classes.num_classes)
        for shard in self.splits[split].values():
            if shard.counts is None:
                return None
            total += shard.counts
        return total


def final_folder(data_dir: epath.PathLike, name: str) -> epath.Path:
    """Returns the folder that a data set has once it is whole."""
    return as_utf8(as_path(data_dir).expanduser()) / name / VERSION


def unfinished_folder(data_dir: epath.PathLike, name: str) -> epath.Path:
    """Returns the folder in which a data set is made."""
    return final_folder(data_dir, name).with_name(f"unfinished-{VERSION}")


def _shard(plain: dict[str, Any], num_classes: int) -> ShardContents:
    """What JSON says of a shard; a KeyError, TypeError or ValueError if it is something else."""
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
        None if counts is None else LabelCounts.from_plain(counts, num_classes),
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
        "counts": None if shard.counts is None else dataclasses.asdict(shard.counts),
    }
