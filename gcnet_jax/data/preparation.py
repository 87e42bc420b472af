"""Writing a data set as ``array_record`` files, in steps that survive an interruption.

Examples are written in shards of a fixed number, into a folder beside the final one. A shard is
written under another name and gets its own when it is whole; then it is entered in the table of
contents, with the sizes of its images and the fingerprint of the examples it was made from. When
all are there, TFDS's description is added and the folder gets its final name. So whatever stands
under the final name is whole, and a second start goes on behind the last whole shard.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Generator, Iterator, Sequence
from typing import Any, NamedTuple

import grain
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from etils import epath
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gcnet_jax.data.catalog import DatasetClasses
from gcnet_jax.data.only_process import only_process
from gcnet_jax.data.records import FEATURES, WRITER_OPTIONS, Pixels, serialize
from gcnet_jax.data.sources.examples import Example, Examples
from gcnet_jax.errors import InputError
from gcnet_jax.files import as_path, as_utf8, write_whole

VERSION = "2.0.0"
"""Version of the stored format, which is also the name of the folder that TFDS looks for."""

EXAMPLES_PER_SHARD = 64

_CONTENTS = "contents.json"
_MAX_THREADS = 16


class ShardContents(NamedTuple):
    """What the table of contents says of one shard.

    Attributes:
        fingerprint: tells the examples that it was made from.
        sizes: (height, width) of each image, in order.
    """

    fingerprint: str
    sizes: list[tuple[int, int]]


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
        path = folder / _CONTENTS
        try:
            plain = json.loads(path.read_text())
            return cls(
                pixels=plain["pixels"],
                classes=DatasetClasses.from_plain(plain["classes"]),
                splits={
                    split: {int(i): ShardContents(**shard) for i, shard in shards.items()}
                    for split, shards in plain["splits"].items()
                },
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path} is missing or damaged ({error}); delete {folder} and prepare it again"
            ) from error

    def write(self, folder: epath.Path) -> None:
        """Writes the table, or leaves the one that was there."""
        plain: dict[str, Any] = {
            "pixels": self.pixels,
            "classes": self.classes.to_plain(),
            "splits": {
                split: {index: shard._asdict() for index, shard in shards.items()}
                for split, shards in self.splits.items()
            },
        }
        write_whole(folder / _CONTENTS, json.dumps(plain))


def final_folder(data_dir: epath.PathLike, name: str) -> epath.Path:
    """Returns the folder that a data set has once it is whole."""
    return as_utf8(as_path(data_dir).expanduser()) / name / VERSION


def unfinished_folder(data_dir: epath.PathLike, name: str) -> epath.Path:
    """Returns the folder in which a data set is made."""
    return final_folder(data_dir, name).with_name(f"unfinished-{VERSION}")


def write_dataset(
    data_dir: epath.PathLike,
    name: str,
    description: str,
    classes: DatasetClasses,
    examples: Examples,
    pixels: Pixels,
) -> None:
    """Writes all shards that are not there yet, and finishes the data set.

    Args:
        data_dir: folder for all prepared data sets.
        name: name of the data set.
        description: one sentence about it.
        classes: its classes.
        examples: its splits.
        pixels: how to store images and labels.

    Raises:
        InputError: if an example is not as expected, the data set has been begun with other
          settings, or another process is writing it.
    """
    folder = unfinished_folder(data_dir, name)
    folder.mkdir(parents=True, exist_ok=True)
    with _progress() as progress, only_process(folder, progress.console):
        contents = _begun(folder, classes, pixels)
        planned = {split: _shards(folder, name, split, examples[split]) for split in examples}
        _forget_others(folder, contents, planned)
        for split in examples:
            _write_split(folder, contents, split, planned[split], progress)
        _describe(folder, name, description, contents)
        folder.rename(final_folder(data_dir, name))


def fingerprints(examples: Examples) -> dict[str, list[str]]:
    """Returns the fingerprints of each split's shards, as the table of contents has them."""
    return {
        split: [_fingerprint(shard) for shard in _ranges(examples[split])] for split in examples
    }


# Shards ------------------------------------------------------------------------------------------


class _Shard(NamedTuple):
    path: epath.Path
    examples: Sequence[Example]
    fingerprint: str


def _shards(
    folder: epath.Path, name: str, split: str, examples: Sequence[Example]
) -> dict[int, _Shard]:
    ranges = _ranges(examples)
    template = _file_template(folder, name).replace(split=split)
    return {
        index: _Shard(
            template.sharded_filepath(shard_index=index, num_shards=len(ranges)),
            part,
            _fingerprint(part),
        )
        for index, part in enumerate(ranges)
    }


def _ranges(examples: Sequence[Example]) -> list[Sequence[Example]]:
    starts = range(0, len(examples), EXAMPLES_PER_SHARD)
    return [examples[start : start + EXAMPLES_PER_SHARD] for start in starts]


def _fingerprint(examples: Sequence[Example]) -> str:
    text = "\n".join(example.fingerprint() for example in examples)
    return hashlib.sha256(text.encode()).hexdigest()


def _file_template(folder: epath.Path, name: str) -> tfds.core.ShardedFileTemplate:
    return tfds.core.ShardedFileTemplate(
        data_dir=folder, dataset_name=name, filetype_suffix="array_record"
    )


def _write_split(
    folder: epath.Path,
    contents: Contents,
    split: str,
    shards: dict[int, _Shard],
    progress: Progress,
) -> None:
    written = contents.splits.setdefault(split, {})
    missing = {index: shard for index, shard in shards.items() if index not in written}
    if written:
        progress.console.print(f"{split}: {len(written)} of {len(shards)} shards are there")
    task = progress.add_task(
        f"Preparing {split:5}",
        total=sum(len(shard.examples) for shard in shards.values()),
        completed=sum(len(shard.sizes) for shard in written.values()),
    )
    remaining = [example for shard in missing.values() for example in shard.examples]
    with contextlib.closing(_serialized(remaining, contents.pixels)) as records:
        for index, shard in missing.items():
            sizes: list[tuple[int, int]] = []
            partial = shard.path.with_name(f"{shard.path.name}.partial")
            writer = ArrayRecordWriter(os.fspath(partial), WRITER_OPTIONS[contents.pixels])
            for _ in shard.examples:
                record, size = next(records)
                with _failing_writes_named(partial):
                    writer.write(record)
                sizes.append(size)
                progress.advance(task)
            with _failing_writes_named(partial):
                writer.close()
            partial.rename(shard.path)
            written[index] = ShardContents(shard.fingerprint, sizes)
            contents.write(folder)


def _serialized(
    examples: Sequence[Example], pixels: Pixels
) -> Generator[tuple[bytes, tuple[int, int]]]:
    """Loads examples with several threads, in order and never many at a time."""

    def serialized(example: Example) -> tuple[bytes, tuple[int, int]]:
        encoded, image, label = example.load()
        height, width = label.shape
        return serialize(example.name, encoded, image, label, pixels), (height, width)

    threads = min(os.cpu_count() or 1, _MAX_THREADS)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    loaded = iter(grain.MapDataset.source(examples).map(serialized).to_iter_dataset(options))
    try:
        yield from loaded
    finally:
        loaded.close()


@contextlib.contextmanager
def _failing_writes_named(path: epath.Path) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # which is how array_record reports a full disk
        raise InputError(
            f"{path} cannot be written ({error}); make room and start again: what is whole is kept"
        ) from error


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


# The unfinished folder ---------------------------------------------------------------------------


def _begun(folder: epath.Path, classes: DatasetClasses, pixels: Pixels) -> Contents:
    """What an interrupted preparation has left; nothing of a first start."""
    if not (folder / _CONTENTS).exists():
        return Contents(pixels, classes, {})
    contents = Contents.read(folder)
    for what, before, now in (
        ("pixels", contents.pixels, pixels),
        ("classes", contents.classes, classes),
    ):
        if before != now:
            raise InputError(
                f"{folder} has been begun with other {what} ({before}, now {now}); "
                "go on with those, or delete it to start over"
            )
    return contents


def _forget_others(
    folder: epath.Path, contents: Contents, planned: dict[str, dict[int, _Shard]]
) -> None:
    """Removes shards of examples that have changed since, and what was never finished."""
    for split, shards in contents.splits.items():
        for index in list(shards):
            shard = planned.get(split, {}).get(index)
            if (
                shard is None
                or shard.fingerprint != shards[index].fingerprint
                or not shard.path.exists()  # its name says how many there are
            ):
                del shards[index]
    for split in contents.splits.keys() - planned.keys():
        del contents.splits[split]
    kept = {
        planned[split][i].path.name for split, shards in contents.splits.items() for i in shards
    }
    contents.write(folder)
    for path in folder.iterdir():
        if path.name != _CONTENTS and path.name not in kept:
            path.unlink()


def _describe(folder: epath.Path, name: str, description: str, contents: Contents) -> None:
    """Writes what makes the folder a data set of TFDS."""
    template = _file_template(folder, name)
    split_infos = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[len(shards[index].sizes) for index in sorted(shards)],
            num_bytes=sum(
                path.stat().length for path in folder.glob(f"{name}-{split}.array_record-*")
            ),
            filename_template=template.replace(split=split),
        )
        for split, shards in contents.splits.items()
    ]
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=FEATURES,
        split_infos=split_infos,
        filename_template=template,
        version=VERSION,
        description=description,
        disable_shuffling=True,
        check_data=False,  # it would do so with TensorFlow
    )
