"""Writing a data set as `array_record` files, in steps that survive an interruption.

Examples are written in shards of a fixed number, into a folder beside the final one. A shard is
written under another name and gets its own when it is whole; then it is entered in the table of
contents, with the sizes of its images and the fingerprint of the examples it was made from. When
all are there, TFDS's description is added and the folder gets its final name. So whatever stands
under the final name is whole, and a second start goes on behind the last whole shard. Splits that
are added later are made in such a folder too, from which they move beside those that are there.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import grain
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
from etils import epath
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gcnet_jax.data.contents import CONTENTS, Contents, ShardContents
from gcnet_jax.data.examples import Example, Examples
from gcnet_jax.data.folders import VERSION, final_folder, unfinished_folder
from gcnet_jax.data.only_process import only_process
from gcnet_jax.data.record_format import (
    RecordFormat,
    StoredExample,
    deserialize,
    different_entry,
    identity,
)
from gcnet_jax.errors import InputError

Check = Callable[[Mapping[str, Any], Console], None]
"""Given the task's counts of each split that has been counted, raises InputError if training could
not learn from them; the console is for what there is to see."""

EXAMPLES_PER_SHARD = 64

SAMPLES = "samples.png"
"""Name of the picture of some examples."""

_MAX_THREADS = 16
_RANDOM_ACCESS = "readahead_buffer_size:0,max_parallelism:0"  # options of array_record's reader
_SAMPLES = 6  # rows of that picture, or more where each split shall have one


def write_dataset(
    data_dir: epath.PathLike,
    name: str,
    description: str,
    record_format: RecordFormat,
    examples: Examples,
    check: Check,
) -> None:
    """Writes all shards that are not there yet, and finishes the data set.

    Other splits that are there stay, and can be read all the while.

    Args:
        data_dir: folder for all prepared data sets.
        name: name of the data set.
        description: one sentence about it.
        record_format: how to store its records.
        examples: its splits.
        check: says whether training could learn from what has been counted. If not, the data set is
            not finished, and nothing that has been written is lost.

    Raises:
        InputError: if an example is not as expected, the check fails, the data set has been begun
            with other settings, or another process is writing it.
    """
    folder = unfinished_folder(data_dir, name)
    folder.mkdir(parents=True, exist_ok=True)
    with _progress() as progress, only_process(folder, progress.console):
        contents = _begun(folder, record_format)
        planned = {split: _shards(folder, name, split, examples[split]) for split in examples}
        _forget_others(folder, contents, planned)
        for split in examples:
            _write_split(folder, contents, split, planned[split], progress)
        target = final_folder(data_dir, name)
        if target.exists():
            _link_other_splits(folder, name, contents, target)
        counts = {split: contents.counts(split) for split in contents.splits}
        counted = {split: of_split for split, of_split in counts.items() if of_split is not None}
        check(counted, progress.console)
        record_format.save_samples(folder / SAMPLES, _samples(folder, name, contents))
        _describe(folder, name, description, contents)
        if target.exists():
            contents.write(folder)
            _move_into(target, folder)
        else:
            folder.rename(target)


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
    return hashlib.sha256(os.fsencode(text)).hexdigest()  # names need not be UTF-8


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
    with contextlib.closing(_stored(remaining, contents.record_format)) as records:
        for index, shard in missing.items():
            sizes: list[tuple[int, int]] = []
            identities: list[int] = []
            counts = contents.record_format.no_counts()
            partial = shard.path.with_name(f"{shard.path.name}.partial")
            writer = ArrayRecordWriter(os.fspath(partial), contents.record_format.writer_options)
            for _ in shard.examples:
                stored = next(records)
                with _failing_writes_named(partial):
                    writer.write(stored.record)
                sizes.append(stored.size)
                identities.append(identity(stored.record))
                counts += stored.counts
                progress.advance(task)
            with _failing_writes_named(partial):
                writer.close()
            partial.rename(shard.path)
            written[index] = ShardContents(shard.fingerprint, sizes, identities, counts)
            contents.write(folder)


def _stored(
    examples: Sequence[Example], record_format: RecordFormat
) -> Generator[StoredExample[Any]]:
    """Loads examples with several threads, in order and never many at a time."""
    threads = min(os.cpu_count() or 1, _MAX_THREADS)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    loaded = iter(
        grain.MapDataset.source(examples).map(record_format.store).to_iter_dataset(options)
    )
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


def _begun(folder: epath.Path, record_format: RecordFormat) -> Contents[RecordFormat]:
    """Returns what an interrupted preparation has left; nothing of a first start."""
    if not (folder / CONTENTS).exists():
        return Contents(record_format, {})
    contents = Contents.read(folder, type(record_format))
    if different := different_entry(contents.record_format, record_format):
        what, before, now = different
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
                or shards[index].counts is None  # begun by an earlier version
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
        if path.name != CONTENTS and path.name not in kept:
            path.unlink()


def _files(folder: epath.Path, name: str, contents: Contents, split: str) -> list[epath.Path]:
    """Returns the files of a split that is whole, in order."""
    template, count = _file_template(folder, name), len(contents.splits[split])
    return [
        template.replace(split=split).sharded_filepath(shard_index=index, num_shards=count)
        for index in range(count)
    ]


def _link_other_splits(
    folder: epath.Path, name: str, contents: Contents, target: epath.Path
) -> None:
    """Adds the splits of a whole data set, which stay where they are."""
    there = Contents.read(target, type(contents.record_format))
    contents.splits.update(there.splits)
    for split in there.splits:
        for file in _files(folder, name, contents, split):
            Path(file).symlink_to(Path("..", target.name, file.name))


def _move_into(target: epath.Path, folder: epath.Path) -> None:
    """Moves new splits to where others are, with the descriptions of all of them.

    The table of contents comes last: until it is there, the new splits are not, and what is missing
    of them is made again.
    """
    names = sorted((path.name for path in folder.iterdir()), key=lambda name: name == CONTENTS)
    for name in names:
        if Path(folder, name).is_symlink():  # to where it is already
            (folder / name).unlink()
        else:
            (folder / name).replace(target / name)
    folder.rmdir()


def _samples(folder: epath.Path, name: str, contents: Contents) -> Iterator[tuple[str, Any]]:
    """Yields records spread over each split, with what to call them."""
    for split, shards in contents.splits.items():
        files = _files(folder, name, contents, split)
        places = [(file, i) for n, file in enumerate(files) for i in range(len(shards[n].sizes))]
        number = min(max(1, _SAMPLES // len(contents.splits)), len(places))
        for path, position in (places[i * len(places) // number] for i in range(number)):
            reader = ArrayRecordReader(os.fspath(path), _RANDOM_ACCESS)
            record = deserialize(type(contents.record_format), reader.read([position])[0])
            reader.close()
            yield f"{split}: {record['name'].decode()}", record


def _describe(folder: epath.Path, name: str, description: str, contents: Contents) -> None:
    """Writes what makes the folder a data set of TFDS."""
    template = _file_template(folder, name)
    split_infos = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[len(shards[index].sizes) for index in sorted(shards)],
            num_bytes=sum(x.stat().length for x in _files(folder, name, contents, split)),
            filename_template=template.replace(split=split),
        )
        for split, shards in contents.splits.items()
    ]
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=contents.record_format.FEATURES,
        split_infos=split_infos,
        filename_template=template,
        version=VERSION,
        description=description,
        disable_shuffling=True,
        check_data=False,  # it would do so with TensorFlow
    )
