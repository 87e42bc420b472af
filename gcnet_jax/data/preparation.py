"""Writing a data set as `array_record` files, in steps that survive an interruption.

Examples are written in shards of about as many bytes each, into a folder beside the final one. A
shard is written under another name and gets its own when it is whole; then what the table of
contents will say of it is noted beside it: the sizes of its images and the fingerprint of the
examples it was made from. When all are there, the table and TFDS's description are added and the
folder gets its final name. So whatever stands under the final name is whole, and a second start
goes on behind the last whole shard. Splits that are added later are made in such a folder too, from
which they move beside those that are there.
"""

import bisect
import contextlib
import itertools
import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import grain
import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
from etils import epath
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gcnet_jax.data.contents import CONTENTS, Contents, ShardContents
from gcnet_jax.data.examples import Example, Examples, fingerprint
from gcnet_jax.data.folders import VERSION, final_folder, unfinished_folder
from gcnet_jax.data.preparation_lock import only_process
from gcnet_jax.data.record_format import RecordFormat, StoredExample, deserialize, identity
from gcnet_jax.data.unfinished import Unfinished
from gcnet_jax.errors import InputError

Check = Callable[[Mapping[str, Any], Console], None]
"""Given the task's counts of each split that has been counted, raises InputError if training could
not learn from them; the console is for what there is to see."""

SHARD_BYTES = 128 << 20
"""Bytes of records, before any compression, with which a shard is full."""

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
        unfinished = Unfinished(folder, record_format, progress.console)
        unfinished.keep_unchanged(examples)
        for split in examples:
            _write_split(unfinished, split, examples[split], record_format, progress)
        contents = unfinished.contents()
        files = {split: _files(folder, name, contents, split) for split in examples}
        target = final_folder(data_dir, name)
        if target.exists():
            contents.splits.update(Contents.read(target, type(record_format)).splits)
        counts = {split: contents.counts(split) for split in contents.splits}
        counted = {split: of_split for split, of_split in counts.items() if of_split is not None}
        check(counted, progress.console)
        unfinished.finish(files)
        others = contents.splits.keys() - examples.keys()
        for file in (file for split in others for file in _files(folder, name, contents, split)):
            Path(file).symlink_to(Path("..", target.name, file.name))
        record_format.save_samples(folder / SAMPLES, _samples(folder, name, contents))
        _describe(folder, name, description, contents)
        if target.exists():
            contents.write(folder)
            _move_into(target, folder, [f"{name}-{split}.array_record-" for split in examples])
        else:
            folder.rename(target)


# Shards ------------------------------------------------------------------------------------------


def _write_split(
    unfinished: Unfinished,
    split: str,
    examples: Sequence[Example],
    record_format: RecordFormat,
    progress: Progress,
) -> None:
    there = unfinished.number(split)
    if there:
        progress.console.print(f"{split}: {there} of {len(examples)} images are there")
    task = progress.add_task(f"Preparing {split:5}", total=len(examples), completed=there)
    for start, end in unfinished.gaps(split, len(examples)):
        stored = _stored(examples[start:end], record_format, lambda: progress.advance(task))
        with contextlib.closing(stored) as records:
            while start < end:
                shard = _write_shard(unfinished.shard(split, start), records, record_format)
                unfinished.enter(split, start, shard)
                start += len(shard.sizes)


def _write_shard(
    path: epath.Path,
    records: Iterator[tuple[str, StoredExample[Any]]],
    record_format: RecordFormat,
) -> ShardContents:
    """Writes as many of the examples as fill a shard, or all that remain."""
    fingerprints: list[str] = []
    sizes: list[tuple[int, int]] = []
    identities: list[int] = []
    counts, written = record_format.no_counts(), 0
    partial = path.with_name(f"{path.name}.partial")
    writer = ArrayRecordWriter(os.fspath(partial), record_format.writer_options)
    for text, stored in records:
        with _failing_writes_named(partial):
            writer.write(stored.record)
        fingerprints.append(text)
        sizes.append(stored.size)
        identities.append(identity(stored.record))
        counts += stored.counts
        written += len(stored.record)
        if written >= SHARD_BYTES:
            break
    with _failing_writes_named(partial):
        writer.close()
    partial.rename(path)
    return ShardContents(
        fingerprint(fingerprints),
        np.array(sizes, np.int32),
        np.array(identities, np.uint32),
        counts,
    )


def _stored(
    examples: Sequence[Example], record_format: RecordFormat, advance: Callable[[], None]
) -> Generator[tuple[str, StoredExample[Any]]]:
    """Loads examples with several threads, in order and never many at a time.

    With each comes its fingerprint from before: if it changes meanwhile, the next start notices.
    """

    def load(example: Example) -> tuple[str, StoredExample[Any]]:
        return example.fingerprint(), record_format.store(example)

    threads = min(os.cpu_count() or 1, _MAX_THREADS)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    loaded = iter(grain.MapDataset.source(examples).map(load).to_iter_dataset(options))
    try:
        for stored in loaded:
            advance()
            yield stored
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


# The last steps ----------------------------------------------------------------------------------


def _file_template(folder: epath.Path, name: str) -> tfds.core.ShardedFileTemplate:
    return tfds.core.ShardedFileTemplate(
        data_dir=folder, dataset_name=name, filetype_suffix="array_record"
    )


def _files(folder: epath.Path, name: str, contents: Contents, split: str) -> list[epath.Path]:
    """Returns the files of a split that is whole, in order."""
    template, count = _file_template(folder, name), len(contents.splits[split])
    return [
        template.replace(split=split).sharded_filepath(shard_index=index, num_shards=count)
        for index in range(count)
    ]


def _move_into(target: epath.Path, folder: epath.Path, prefixes: Sequence[str]) -> None:
    """Moves new splits to where others are, with the descriptions of all of them.

    The table of contents comes last: until it is there, the new splits are not, and what is missing
    of them is made again.

    Args:
        target: where the others are.
        folder: where the new ones are.
        prefixes: with which the names of the new ones' files begin.
    """
    for path in target.iterdir():
        if path.name.startswith(tuple(prefixes)):  # moved by a start that was interrupted then
            path.unlink()
    names = sorted((path.name for path in folder.iterdir()), key=lambda name: name == CONTENTS)
    for name in names:
        if Path(folder, name).is_symlink():  # to where it is already
            (folder / name).unlink()
        else:
            (folder / name).replace(target / name)
    folder.rmdir()


def _samples(folder: epath.Path, name: str, contents: Contents) -> Iterator[tuple[str, Any]]:
    """Yields records spread over each split, with what to call them."""
    for split in contents.splits:
        files = _files(folder, name, contents, split)
        ends = list(itertools.accumulate(contents.shard_lengths(split), initial=0))
        number = min(max(1, _SAMPLES // len(contents.splits)), ends[-1])
        for index in (i * ends[-1] // number for i in range(number)):
            shard = bisect.bisect_right(ends, index) - 1
            reader = ArrayRecordReader(os.fspath(files[shard]), _RANDOM_ACCESS)
            serialized = reader.read([index - ends[shard]])[0]
            reader.close()
            record = deserialize(type(contents.record_format), serialized)
            yield f"{split}: {record['name'].decode()}", record


def _describe(folder: epath.Path, name: str, description: str, contents: Contents) -> None:
    """Writes what makes the folder a data set of TFDS."""
    template = _file_template(folder, name)
    split_infos = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=contents.shard_lengths(split),
            num_bytes=sum(x.stat().length for x in _files(folder, name, contents, split)),
            filename_template=template.replace(split=split),
        )
        for split in contents.splits
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
