"""Preparing whole data sets: what is there, what is missing, and whether it is as expected."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import rich.table
from etils import epath
from rich.console import Console

from gcnet_jax.data import archives
from gcnet_jax.data.contents import Contents
from gcnet_jax.data.datasets import DataSets
from gcnet_jax.data.examples import Examples, OfficialSet, fingerprint
from gcnet_jax.data.folders import (
    check_name,
    copy_to_bucket,
    final_folder,
    is_whole,
    prepare_again,
)
from gcnet_jax.data.preparation import Check, write_dataset
from gcnet_jax.data.record_format import RecordFormat, different_entry
from gcnet_jax.errors import InputError, UsageError, did_you_mean
from gcnet_jax.files import local


def prepare_official(
    official: OfficialSet,
    data_dir: epath.PathLike,
    source: epath.PathLike | None,
    record_format: RecordFormat,
    check: Check,
    *,
    splits: Sequence[str] | None,
    subset: bool,
    read: Callable[[Examples], Examples] = lambda examples: examples,
) -> epath.Path:
    """Writes an official data set as `array_record` files that every later run reads.

    Splits that are already there are left as they are, and others added to them. An interrupted
    preparation is never taken for a whole one, and the next call goes on where it ended.

    Args:
        official: the data set.
        data_dir: folder for all prepared data sets; not in a bucket.
        source: folder with the original files, unpacked or as the archives they are distributed in,
            which are unpacked below `data_dir`. Refused by data sets that are generated.
        record_format: how to store the records.
        check: says whether training could learn from what has been counted.
        splits: which to prepare, and look for in the source; None for all.
        subset: whether the source may be a part of the official release.
        read: returns the examples that were found, to be read with the user's settings.

    Returns:
        The folder of this data set.

    Raises:
        InputError: if a split is unknown, `source` is missing, not wanted or not as expected, a
            file of it is not as expected, the check fails, or the data set is there in another
            format or, unless that is allowed, as a part only.
    """
    data_dir = local(data_dir, copy_to_bucket(official.name, data_dir))
    wanted = _checked_splits(official, splits)
    target = final_folder(data_dir, official.name)
    if target.exists():
        contents = _whole_contents(target, record_format)
        sizes = {s: len(contents.sizes(s)) for s in wanted if s in contents.splits}
        if not subset:
            _check_counts(
                official, sizes, f"{target} holds a part of it: delete that, or pass --subset"
            )
        wanted = [split for split in wanted if split not in contents.splits]
    source = _checked_source(official, source, wanted)
    if not wanted:
        return target
    roots = []
    if source is not None:
        unpacked = target.with_name("unpacked")
        roots = archives.locate(official.parts_for(wanted), source, unpacked)
    examples = read(official.find_examples(roots, wanted))
    if not subset:
        _check_counts(
            official,
            {split: len(examples[split]) for split in examples},
            lacking_advice(source),
        )
    write_dataset(data_dir, official.name, official.description, record_format, examples, check)
    return target


def lacking_advice(source: epath.PathLike | None) -> str:
    """Returns what to do about an official set that lacks something, for a message.

    Args:
        source: where the files of the set are; None if it is generated.
    """
    if source is None:
        return "it is generated, so that the library is at fault: report it"
    return f"if {source} is meant to be a part of the official set, pass --subset"


def own_files(
    sets: DataSets[Any], name: str, data_dir: epath.PathLike, source: epath.PathLike
) -> tuple[epath.Path, epath.Path]:
    """Checks what a user's own data set is called, and where its files are, before any is read.

    Args:
        sets: those of the task.
        name: what to call the data set.
        data_dir: folder for all prepared data sets; not in a bucket.
        source: folder with the files; not in a bucket.

    Returns:
        Both folders.

    Raises:
        InputError: if the name is that of another data set or no name, a folder is in a bucket, or
            the source is none.
    """
    data_dir = own_data_dir(sets, name, data_dir)
    source = local(source, "copy it first").expanduser()
    if not source.is_dir():
        raise InputError(f"source {source} is not a folder")
    return data_dir, source


def own_data_dir(sets: DataSets[Any], name: str, data_dir: epath.PathLike) -> epath.Path:
    """Checks what a user's own data set is called, and where it shall be, before a file is read.

    Args:
        sets: those of the task.
        name: what to call the data set.
        data_dir: folder for all prepared data sets; not in a bucket.

    Returns:
        That folder.

    Raises:
        InputError: if the name is that of another data set or no name, or the folder is in a
            bucket.
    """
    if name in sets.official:
        raise UsageError(f"'{name}' is the name of a data set of this library; choose another")
    check_name(name, "data set")
    return local(data_dir, sets.how_to_prepare(name, data_dir))


def with_table(
    check: Callable[[Mapping[str, Any]], None],
    counts_table: Callable[[Mapping[str, Any]], rich.table.Table],
) -> Check:
    """Returns a check that shows what has been counted where it refuses it.

    Args:
        check: raises InputError if training could not learn from such counts of each split.
        counts_table: shows them.
    """

    def check_and_show(counts: Mapping[str, Any], console: Console) -> None:
        try:
            check(counts)
        except InputError:
            console.print(counts_table(counts))
            raise

    return check_and_show


def prepare_own(
    name: str,
    data_dir: epath.Path,
    description: str,
    record_format: RecordFormat,
    examples: Examples,
    check: Check,
    *,
    options: str,
) -> epath.Path:
    """Writes a user's own examples as a data set, unless it is there; works as `prepare_official`.

    Args:
        name: what to call the data set.
        data_dir: folder for all prepared data sets; not in a bucket.
        description: one sentence about it.
        record_format: how to store the records.
        examples: its splits.
        check: says whether training could learn from what has been counted.
        options: what changes how the same files are read, such as "--orientation".

    Returns:
        The folder of this data set.

    Raises:
        InputError: if an example is not as expected, the check fails, or the data set is there and
            made from something else.
    """
    target = final_folder(data_dir, name)
    if target.exists():
        _check_unchanged(target, _whole_contents(target, record_format), examples, options)
    else:
        write_dataset(data_dir, name, description, record_format, examples, check)
    return target


def _checked_splits(official: OfficialSet, splits: Sequence[str] | None) -> list[str]:
    for split in splits or ():
        if split not in official.splits:
            raise UsageError(
                f"data set '{official.name}' has no split '{split}'"
                f"{did_you_mean(split, official.splits)}; its splits are "
                f"{', '.join(official.splits)}"
            )
    return [split for split in official.splits if splits is None or split in splits]


def _checked_source(
    official: OfficialSet, source: epath.PathLike | None, splits: Sequence[str]
) -> epath.Path | None:
    """Returns the source of some splits; None where nothing is to be read."""
    if not official.parts:
        if source is not None:
            raise UsageError(
                f"data set '{official.name}' is generated and takes no source, but got {source}"
            )
        return None
    if not splits:
        return None
    expected = official.expected_source(splits)
    if source is None:
        raise UsageError(f"data set '{official.name}' needs a source: {expected}")
    path = local(source, "copy it first").expanduser()
    if not path.is_dir():
        raise InputError(f"source {source} is not a folder; expected {expected}")
    return path


def _whole_contents(target: epath.Path, record_format: RecordFormat) -> Contents[RecordFormat]:
    """Returns the contents of a data set that is whole and of this format."""
    if not is_whole(target):
        raise InputError(f"{target} exists but holds no whole data set; {prepare_again(target)}")
    contents = Contents.read(target, type(record_format))
    if different := different_entry(contents.record_format, record_format):
        what, before, now = different
        found = f"other {what}"
        if isinstance(before, str) and isinstance(now, str):
            found = f"{what} '{before}', not '{now}'"
        raise InputError(f"{target} is prepared with {found}; {prepare_again(target)}")
    return contents


def _check_unchanged(
    target: epath.Path, contents: Contents, examples: Examples, options: str
) -> None:
    if not _is_made_from(contents, examples):
        raise InputError(
            f"{target} is prepared from other files (by name, size or time of change) or read "
            f"otherwise ({options}); {prepare_again(target)}"
        )


def _is_made_from(contents: Contents, examples: Examples) -> bool:
    """Returns whether each shard, however many examples it has, is still that of its examples."""
    if contents.splits.keys() != examples.keys():
        return False
    for split, shards in contents.splits.items():
        ends = list(itertools.accumulate(contents.shard_lengths(split), initial=0))
        if ends[-1] != len(examples[split]):
            return False
        for index, (start, end) in zip(sorted(shards), itertools.pairwise(ends), strict=True):
            texts = (example.fingerprint() for example in examples[split][start:end])
            if fingerprint(texts) != shards[index].fingerprint:
                return False
    return True


def _check_counts(official: OfficialSet, found: Mapping[str, int], advice: str) -> None:
    wrong = [
        f"{count} images in '{split}', expected {official.counts[split]}"
        for split, count in found.items()
        if official.counts.get(split, count) != count
    ]
    if wrong:
        raise InputError(
            f"data set '{official.name}' is not complete: {'; '.join(wrong)}; {advice}"
        )
