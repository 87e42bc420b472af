"""Preparing a data set once, and opening the splits of a prepared one.

A new official data set is one module in ``sources/``, one entry in ``OFFICIAL_SETS`` and its
classes in the catalog. A user's own images need no code: :func:`prepare_folder`.
"""

import functools
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from jaxtyping import Int32

from gcnet_jax.config import brief_reason
from gcnet_jax.data.catalog import CATALOG, DatasetClasses, read_class_table
from gcnet_jax.data.preparation import (
    VERSION,
    Contents,
    final_folder,
    fingerprints,
    unfinished_folder,
    write_dataset,
)
from gcnet_jax.data.records import FEATURES, Pixels
from gcnet_jax.data.sources import archives, folder
from gcnet_jax.data.sources.ade20k import ADE20K
from gcnet_jax.data.sources.camvid import CAMVID
from gcnet_jax.data.sources.cityscapes import CITYSCAPES
from gcnet_jax.data.sources.context_shapes import CONTEXT_SHAPES
from gcnet_jax.data.sources.examples import Examples, OfficialSet
from gcnet_jax.data.sources.voc12aug import VOC12AUG
from gcnet_jax.data.split import Split
from gcnet_jax.errors import InputError, did_you_mean
from gcnet_jax.files import in_bucket, local, read_json

OFFICIAL_SETS: Mapping[str, OfficialSet] = MappingProxyType(
    {official.name: official for official in (ADE20K, CAMVID, CITYSCAPES, CONTEXT_SHAPES, VOC12AUG)}
)


# Preparing ---------------------------------------------------------------------------------------


def prepare(
    name: str,
    data_dir: epath.PathLike,
    source: epath.PathLike | None = None,
    *,
    pixels: Pixels = "as_found",
    subset: bool = False,
) -> epath.Path:
    """Writes an official data set as ``array_record`` files that every later run reads.

    A data set that is already there is left as it is. An interrupted preparation is never taken
    for a whole one, and the next call goes on where it ended.

    Args:
        name: the data set, a key of ``OFFICIAL_SETS``.
        data_dir: folder for all prepared data sets; not in a bucket.
        source: folder with the original files, unpacked or as the archives they are distributed
          in, which are unpacked below ``data_dir``. Refused by data sets that are generated.
        pixels: how to store images and labels; see ``gcnet_jax.data.records``.
        subset: whether the source may be a part of the official release.

    Returns:
        The folder of this data set.

    Raises:
        InputError: if the name is unknown, ``source`` is missing, not wanted or not as expected,
          a file of it is not as expected, or the data set is there with other pixels or, unless
          that is allowed, as a part only.
    """
    if name not in OFFICIAL_SETS:
        raise InputError(
            f"there is no official data set '{name}'{did_you_mean(name, OFFICIAL_SETS)}; "
            f"there are: {', '.join(OFFICIAL_SETS)}"
        )
    official = OFFICIAL_SETS[name]
    data_dir = local(data_dir, _how_to_prepare(name, data_dir))
    source = _checked_source(official, source)
    target = final_folder(data_dir, name)
    if target.exists():
        contents = _whole_contents(target)
        _check_pixels(target, contents, pixels)
        sizes = {
            split: sum(len(shard.sizes) for shard in shards.values())
            for split, shards in contents.splits.items()
        }
        if not subset:
            _check_counts(official, sizes, f"{target} holds a part of it: delete that, or")
        return target
    roots = []
    if source is not None:
        roots = archives.locate(official.parts, source, target.with_name("unpacked"))
    examples = official.find_examples(roots)
    if not subset:
        _check_counts(
            official,
            {split: len(examples[split]) for split in examples},
            f"if {source} is meant to be a part of the official set,",
        )
    write_dataset(data_dir, name, official.description, CATALOG[name], examples, pixels)
    return target


def prepare_folder(
    name: str,
    data_dir: epath.PathLike,
    source: epath.PathLike,
    *,
    images: Mapping[str, Sequence[str]],
    masks: Mapping[str, Sequence[str]],
    classes: epath.PathLike,
    pixels: Pixels = "as_found",
) -> epath.Path:
    """Writes a user's own images and masks as a data set; works as :func:`prepare`.

    Args:
        name: what to call the data set.
        data_dir: folder for all prepared data sets; not in a bucket.
        source: the folder that the patterns start from.
        images: patterns of each split's images, such as ``{"train": ["train/*_rgb.jpg"]}``.
        masks: patterns of each split's masks, such as ``{"train": ["train/*_label.png"]}``. A mask
          belongs to the image for which the stars match the same text. It holds class indices, or
          255 where ignored.
        classes: CSV table with the columns name and, unless the colours do not matter, red, green
          and blue.
        pixels: how to store images and masks; see ``gcnet_jax.data.records``.

    Returns:
        The folder of this data set.

    Raises:
        InputError: if the name is that of another data set or no name, the table, a pattern or a
          file is not as expected, or the data set is there and made from something else.
    """
    if name in CATALOG:
        raise InputError(f"'{name}' is the name of a data set of this library; choose another")
    folder.check_name(name, "data set")
    data_dir = local(data_dir, _how_to_prepare(name, data_dir))
    source, class_table = (local(path, "copy it first").expanduser() for path in (source, classes))
    if not source.is_dir():
        raise InputError(f"source {source} is not a folder")
    if not class_table.exists():
        raise InputError(f"there is no file {class_table}; expected a table of the classes")
    table = read_class_table(class_table)
    examples = folder.find_examples(source, images, masks, table)
    target = final_folder(data_dir, name)
    if target.exists():
        contents = _whole_contents(target)
        _check_pixels(target, contents, pixels)
        _check_unchanged(target, contents, table, examples)
        return target
    write_dataset(data_dir, name, f"Images and masks from {source}.", table, examples, pixels)
    return target


def _checked_source(official: OfficialSet, source: epath.PathLike | None) -> epath.Path | None:
    if not official.parts:
        if source is not None:
            raise InputError(
                f"data set '{official.name}' is generated and takes no source, but got {source}"
            )
        return None
    if source is None:
        raise InputError(f"data set '{official.name}' needs a source: {official.expected_source}")
    path = local(source, "copy it first").expanduser()
    if not path.is_dir():
        raise InputError(f"source {source} is not a folder; expected {official.expected_source}")
    return path


def _whole_contents(target: epath.Path) -> Contents:
    if not _is_whole(target):
        raise InputError(f"{target} exists but holds no whole data set; {_prepare_again(target)}")
    return Contents.read(target)


def _check_pixels(target: epath.Path, contents: Contents, pixels: Pixels) -> None:
    if contents.pixels != pixels:
        raise InputError(
            f"{target} is prepared with pixels '{contents.pixels}', not '{pixels}'; "
            f"{_prepare_again(target)}"
        )


def _check_unchanged(
    target: epath.Path, contents: Contents, classes: DatasetClasses, examples: Examples
) -> None:
    if contents.classes != classes:
        raise InputError(f"{target} is prepared with other classes; {_prepare_again(target)}")
    before = {
        split: [shards[index].fingerprint for index in sorted(shards)]
        for split, shards in contents.splits.items()
    }
    if before != fingerprints(examples):
        raise InputError(
            f"{target} is prepared from other files (by name, size or time of change); "
            f"{_prepare_again(target)}"
        )


def _check_counts(official: OfficialSet, found: Mapping[str, int], advice: str) -> None:
    wrong = [
        f"{found.get(split, 0)} images in '{split}', expected {count}"
        for split, count in official.counts.items()
        if found.get(split) != count
    ]
    if wrong:
        raise InputError(
            f"data set '{official.name}' is not complete: {'; '.join(wrong)}; "
            f"{advice} pass --subset"
        )


# Reading -----------------------------------------------------------------------------------------


def open_split(name: str, data_dir: epath.PathLike, split: str) -> Split:
    """Opens one split for random access.

    Args:
        name: the data set.
        data_dir: the folder it was prepared in.
        split: one of its splits, such as ``train``.

    Returns:
        The still encoded records; ``gcnet_jax.data.decode`` turns one into arrays.

    Raises:
        InputError: if the name or the split is unknown, or the set is not prepared (the message
          gives the command that prepares it), or files of it are missing or not what this library
          has written.
    """
    target = _prepared_folder(name, data_dir)
    _check_features(target)
    contents = Contents.read(target)
    try:
        builder = tfds.builder_from_directory(target)
        splits = builder.info.splits
    except Exception as error:  # several, of JSON and of protocol buffers
        raise _damaged_description(target, brief_reason(error)) from error
    _check_split(name, split, splits)
    info, written = splits[split], contents.splits.get(split, {})
    shards = [written[index] for index in sorted(written)]
    if [len(shard.sizes) for shard in shards] != list(info.shard_lengths):
        raise _damaged_description(target, "it has other numbers of records than contents.json")
    _check_files(target, info.filenames)
    try:
        source: Any = builder.as_data_source(
            split,  # pyright: ignore[reportCallIssue] TFDS decorates the signature away
            deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES,
        )
    except Exception as error:  # such as of a format that cannot be read by index
        raise _damaged_description(target, brief_reason(error)) from error
    return Split(source, target, info.filenames, shards, _prepare_again(target))


def _check_features(target: epath.Path) -> None:
    """Raises InputError unless TFDS may read how the features of a data set are described.

    It imports each module that the description names.
    """
    try:
        found = read_json(target / "features.json")
    except (OSError, ValueError) as error:
        raise _damaged_description(target, brief_reason(error)) from error
    if found != _described_features():
        raise InputError(
            f"{target / 'features.json'} describes other features than this library stores; "
            f"{_prepare_again(target)}"
        )


@functools.cache
def _described_features() -> Any:
    """The features of this library as TFDS writes them down."""
    with tempfile.TemporaryDirectory() as folder:
        FEATURES.save_config(folder)
        return read_json(epath.Path(folder) / "features.json")


def _check_files(target: epath.Path, names: Sequence[str]) -> None:
    """Raises InputError unless all files of a split are in the folder, and are files."""
    there = {file.name for file in target.iterdir()}
    for name in sorted(names):
        if name not in there:
            raise InputError(f"{target / name} is missing; {_prepare_again(target)}")
        if not in_bucket(target) and not Path(target, name).is_file():
            raise InputError(f"{target / name} is no regular file; {_prepare_again(target)}")


def _damaged_description(target: epath.Path, reason: str) -> InputError:
    return InputError(
        f"the description of {target} is damaged ({reason}); {_prepare_again(target)}"
    )


def split_names(name: str, data_dir: epath.PathLike) -> tuple[str, ...]:
    """Returns the splits of a prepared data set; raises as :func:`open_split` does."""
    return tuple(Contents.read(_prepared_folder(name, data_dir)).splits)


def split_size(name: str, data_dir: epath.PathLike, split: str) -> int:
    """Returns the number of images in a split; raises as :func:`open_split` does."""
    return len(open_split(name, data_dir, split))


def split_image_sizes(name: str, data_dir: epath.PathLike, split: str) -> Int32[np.ndarray, "n 2"]:
    """Returns (height, width) of every image of a split in pixels, without reading its records.

    Args:
        name: the data set.
        data_dir: the folder it was prepared in.
        split: one of its splits.

    Raises:
        InputError: if the name or the split is unknown, or the set is not prepared.
    """
    splits = Contents.read(_prepared_folder(name, data_dir)).splits
    _check_split(name, split, splits)
    shards = splits[split]
    return np.array([size for index in sorted(shards) for size in shards[index].sizes], np.int32)


def dataset_classes(name: str, data_dir: epath.PathLike | None = None) -> DatasetClasses:
    """Returns the classes of a data set.

    Args:
        name: a data set of the catalog, which need not be prepared, or a user's own.
        data_dir: the folder in which a user's own data set was prepared.

    Raises:
        InputError: if there is no such data set; the message lists those of the catalog.
    """
    if name in CATALOG:
        return CATALOG[name]
    if data_dir is None:
        raise InputError(
            f"unknown data set '{name}'{did_you_mean(name, CATALOG)}; known data sets: "
            f"{', '.join(CATALOG)}"
        )
    return Contents.read(_prepared_folder(name, data_dir)).classes


def _prepared_folder(name: str, data_dir: epath.PathLike) -> epath.Path:
    if not name:
        raise InputError(
            "no data set is named (data.name is empty); expected one that is prepared, or one of "
            f"{', '.join(OFFICIAL_SETS)}"
        )
    target = final_folder(data_dir, name)
    if _is_whole(target):
        return target
    if target.exists():
        raise InputError(f"{target} has lost some of its files; {_prepare_again(target)}")
    remedy = f"; {_how_to_prepare(name, data_dir)}"
    if name not in OFFICIAL_SETS and not target.parent.exists():
        remedy = did_you_mean(name, OFFICIAL_SETS.keys() | _prepared_names(data_dir)) or remedy
    message = f"data set '{name}' is not prepared in {data_dir}{remedy}"
    if unfinished_folder(data_dir, name).exists():
        message += " (which goes on with what has been begun)"
    elif before := _other_versions(target):
        message += f" ({before[0]} is of another version of this library and can be deleted)"
    if name not in OFFICIAL_SETS:
        message += f"; the official data sets are: {', '.join(OFFICIAL_SETS)}"
    raise InputError(message)


def _prepared_names(data_dir: epath.PathLike) -> set[str]:
    folder = epath.Path(data_dir)
    if not folder.is_dir():
        return set()
    return {path.name for path in folder.iterdir() if _is_whole(final_folder(folder, path.name))}


def _is_whole(target: epath.Path) -> bool:
    # A folder gets this name when it is whole; but files can be lost later.
    return all((target / file).exists() for file in ("dataset_info.json", "features.json"))


def _other_versions(target: epath.Path) -> list[epath.Path]:
    if not target.parent.exists():
        return []
    return [path for path in target.parent.iterdir() if tfds.core.Version.is_valid(path.name)]


def _prepare_again(target: epath.Path) -> str:
    name = target.parent.name
    if in_bucket(target):
        return f"if it is damaged there, copy '{name}' there again"
    return f"delete {target} and prepare '{name}' again"


def _how_to_prepare(name: str, data_dir: epath.PathLike) -> str:
    if in_bucket(data_dir):
        return (
            "prepare it in a local folder, such as data, and copy it when it is whole: "
            f"gcloud storage cp -r data/{name}/{VERSION} {epath.Path(data_dir) / name}/"
        )
    command = f"folder --name {name} --source FOLDER ..."
    if name in OFFICIAL_SETS:
        command = f"{name} --source FOLDER" if OFFICIAL_SETS[name].parts else name
    return f"prepare it with: python scripts/prepare_dataset.py {command} --data_dir {data_dir}"


def _check_split(name: str, split: str, splits: Mapping[str, object]) -> None:
    if split not in splits:
        raise InputError(
            f"data set '{name}' has no split '{split}'; its splits are {', '.join(splits)}"
        )
