"""The folder in which a data set is made, and what is kept there from one start to the next.

In it are `begun.json`, the description of the set, and for each whole shard two files, which are
named by the split and the position of the first example: `train-00001220.array_record`, and then
`train-00001220.json`, what the table of contents will say of it. Each is written once, so that what
is written grows with the number of examples, as does the time that a start takes to find out what
is there. How many shards there will be need not be known, and those before an example that has been
added or removed stay. When all are there, the table of contents is written; from then on it takes
the place of the other descriptions, and the shards get the names by which TFDS finds them.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

from etils import epath
from rich.console import Console

from gcnet_jax.data.contents import CONTENTS, DAMAGED, Contents, ShardContents
from gcnet_jax.data.examples import Examples, fingerprint
from gcnet_jax.data.record_format import RecordFormat, different_entry
from gcnet_jax.errors import InputError
from gcnet_jax.files import read_json, write_whole

F = TypeVar("F", bound=RecordFormat)

_BEGUN = "begun.json"
_STATE = re.compile(r"([a-z][a-z0-9_]*)-(\d{8,})\.json")
_SHARD = re.compile(r"[a-z0-9_]+-([a-z][a-z0-9_]*)\.array_record-(\d+)-of-\d+")
_EARLIER_LENGTH = 64  # examples a shard, when the table of contents was written after each


class Unfinished(Generic[F]):
    """A data set that is being made: the shards that are whole, by their first examples.

    Args:
        folder: in which it is made, by this process alone.
        record_format: how to store its records.
        console: for a word about what cannot be kept.

    Raises:
        InputError: if the set has been begun with another record format, or its description is
            damaged.
    """

    def __init__(self, folder: epath.Path, record_format: F, console: Console):
        self._folder = folder
        self._record_format = record_format
        self._console = console
        self._splits: dict[str, dict[int, ShardContents]] = {}
        if (folder / CONTENTS).exists():
            _take_apart(folder, type(record_format))
        if (folder / _BEGUN).exists():
            _check_begun(folder, record_format)
            self._read_states()
        else:
            write_whole(folder / _BEGUN, json.dumps(record_format.to_plain()))

    def keep_unchanged(self, examples: Examples) -> None:
        """Removes shards of examples that have changed since, and what was never finished."""
        kept = {_BEGUN}
        there = {path.name for path in self._folder.iterdir()}
        found, self._splits = self._splits, {split: {} for split in examples}
        for split, of_split in examples.items():
            end = 0
            for start, shard in sorted(found.get(split, {}).items()):
                files = {_state_name(split, start), _shard_name(split, start)}
                part = of_split[start : start + len(shard.sizes)]
                if (
                    files <= there
                    and start >= end
                    and len(part) == len(shard.sizes)
                    and fingerprint(x.fingerprint() for x in part) == shard.fingerprint
                ):
                    self._splits[split][start] = shard
                    kept |= files
                    end = start + len(part)
        for name in there - kept:
            (self._folder / name).unlink()

    def number(self, split: str) -> int:
        """Returns how many examples of a split are in whole shards."""
        return sum(len(shard.sizes) for shard in self._splits[split].values())

    def gaps(self, split: str, size: int) -> Iterator[tuple[int, int]]:
        """Yields where the missing examples of a split of some size begin and end."""
        end = 0
        for start, shard in sorted(self._splits[split].items()):
            if end < start:
                yield end, start
            end = start + len(shard.sizes)
        if end < size:
            yield end, size

    def shard(self, split: str, start: int) -> epath.Path:
        """Returns where the shard belongs that begins with an example, once it is whole."""
        return self._folder / _shard_name(split, start)

    def enter(self, split: str, start: int, contents: ShardContents) -> None:
        """Notes that a shard is whole and in its place."""
        write_whole(self._folder / _state_name(split, start), json.dumps(contents.to_plain()))
        self._splits[split][start] = contents

    def contents(self) -> Contents[F]:
        """Returns the table of contents of what is there."""
        return Contents(
            self._record_format,
            {
                split: {i: shards[start] for i, start in enumerate(sorted(shards))}
                for split, shards in self._splits.items()
            },
        )

    def finish(self, files: dict[str, list[epath.Path]]) -> None:
        """Writes the table of contents and gives the shards of each split their final names."""
        self.contents().write(self._folder)
        (self._folder / _BEGUN).unlink()
        for split, shards in self._splits.items():
            for start, file in zip(sorted(shards), files[split], strict=True):
                (self._folder / _state_name(split, start)).unlink()
                self.shard(split, start).rename(file)

    def _read_states(self) -> None:
        for path in self._folder.iterdir():
            if not (named := _STATE.fullmatch(path.name)):
                continue
            try:
                shard = ShardContents.from_plain(read_json(path), self._record_format)
            except DAMAGED as error:  # such as of a machine that lost power
                word = f"{path} is damaged ({error}): its images are stored again"
                self._console.print(word, markup=False)
                continue
            self._splits.setdefault(named[1], {})[int(named[2])] = shard


def _state_name(split: str, start: int) -> str:
    return f"{split}-{start:08d}.json"


def _shard_name(split: str, start: int) -> str:
    return f"{split}-{start:08d}.array_record"


def _check_begun(folder: epath.Path, record_format: RecordFormat) -> None:
    path = folder / _BEGUN
    try:
        begun = type(record_format).from_plain(read_json(path))
    except DAMAGED as error:
        raise InputError(
            f"{path} is damaged ({error}); delete {folder} and prepare it again"
        ) from error
    if different := different_entry(begun, record_format):
        what, before, now = different
        raise InputError(
            f"{folder} has been begun with other {what} ({before}, now {now}); "
            "go on with those, or delete it to start over"
        )


def _take_apart(folder: epath.Path, record_format: type[RecordFormat[Any]]) -> None:
    """Turns a folder with a table of contents into one with a description of each shard.

    Its making was interrupted at one of the last steps; or at any by an earlier version, which
    wrote the table again after each shard. The table goes last: until then this can be repeated.
    """
    contents = Contents.read(folder, record_format)
    files = {
        (named[1], int(named[2])): path
        for path in folder.iterdir()
        # Links lead to splits that are whole and elsewhere.
        if (named := _SHARD.fullmatch(path.name)) and not Path(path).is_symlink()
    }
    for split, shards in contents.splits.items():
        start, expected = 0, 0
        for index, shard in sorted(shards.items()):
            start += _EARLIER_LENGTH * (index - expected)
            if shard.counts is not None:  # otherwise begun by a version that did not count
                state = json.dumps(shard.to_plain())
                write_whole(folder / _state_name(split, start), state)
                if (split, index) in files:
                    files[split, index].rename(folder / _shard_name(split, start))
            start, expected = start + len(shard.sizes), index + 1
    write_whole(folder / _BEGUN, json.dumps(contents.record_format.to_plain()))
    (folder / CONTENTS).unlink()
