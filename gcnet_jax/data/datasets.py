"""The data sets there are: the official ones by name, and whatever is prepared in a folder.

A new official data set is one module in ``sources/``, one entry in ``OFFICIAL_SETS`` and its
classes in the catalog. A user's own images need no code: ``gcnet_jax.data.prepare_folder``.
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
from gcnet_jax.data.catalog import CATALOG, DatasetClasses
from gcnet_jax.data.contents import VERSION, Contents, final_folder, unfinished_folder
from gcnet_jax.data.label_counts import LabelCounts
from gcnet_jax.data.records import FEATURES
from gcnet_jax.data.sources.ade20k import ADE20K
from gcnet_jax.data.sources.camvid import CAMVID
from gcnet_jax.data.sources.cityscapes import CITYSCAPES
from gcnet_jax.data.sources.context_shapes import CONTEXT_SHAPES
from gcnet_jax.data.sources.examples import OfficialSet
from gcnet_jax.data.sources.voc12aug import VOC12AUG
from gcnet_jax.data.split import Split
from gcnet_jax.errors import InputError, did_you_mean
from gcnet_jax.files import in_bucket, read_json

OFFICIAL_SETS: Mapping[str, OfficialSet] = MappingProxyType(
    {official.name: official for official in (ADE20K, CAMVID, CITYSCAPES, CONTEXT_SHAPES, VOC12AUG)}
)


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
    _check_split(name, split, splits, data_dir)
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
    return Split(source, target, info.filenames, shards, prepare_again(target))


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
            f"{prepare_again(target)}"
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
            raise InputError(f"{target / name} is missing; {prepare_again(target)}")
        if not in_bucket(target) and not Path(target, name).is_file():
            raise InputError(f"{target / name} is no regular file; {prepare_again(target)}")


def _damaged_description(target: epath.Path, reason: str) -> InputError:
    return InputError(f"the description of {target} is damaged ({reason}); {prepare_again(target)}")


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
    contents = Contents.read(_prepared_folder(name, data_dir))
    _check_split(name, split, contents.splits, data_dir)
    return np.array(contents.sizes(split), np.int32)


def split_label_counts(name: str, data_dir: epath.PathLike, split: str) -> LabelCounts | None:
    """Returns how often each class occurs in a split; None if the set was prepared without counts.

    Args:
        name: the data set.
        data_dir: the folder it was prepared in.
        split: one of its splits.

    Raises:
        InputError: if the name or the split is unknown, or the set is not prepared.
    """
    contents = Contents.read(_prepared_folder(name, data_dir))
    _check_split(name, split, contents.splits, data_dir)
    return contents.label_counts(split)


def check_labels(name: str, data_dir: epath.PathLike, split: str) -> None:
    """Refuses a split whose labels mean nothing, whether trained on or compared with.

    Args:
        name: the data set.
        data_dir: the folder it was prepared in.
        split: one of its splits.

    Raises:
        InputError: if there is one class only, which every pixel would be given, or no pixel has
          one, as in the test split of Cityscapes; or as :func:`split_image_sizes` says.
    """
    contents = Contents.read(_prepared_folder(name, data_dir))
    _check_split(name, split, contents.splits, data_dir)
    if contents.classes.num_classes < 2:
        raise InputError(
            f"data set '{name}' has the one class {', '.join(contents.classes.names)!r}, and what "
            "is the same everywhere cannot be learnt; prepare it with a class for the rest too, "
            "such as 'background'"
        )
    counts = contents.label_counts(split)
    if counts is not None and not counts.is_labelled:
        raise InputError(
            f"no pixel of split '{split}' of '{name}' has a label: there is nothing to learn from "
            "it or to compare with, as in the test split of Cityscapes"
        )


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
            "no data set is named (data.name is empty); expected --config.data.name=NAME, of one "
            f"that is prepared, or one of {', '.join(OFFICIAL_SETS)}"
        )
    target = final_folder(data_dir, name)
    if is_whole(target):
        return target
    if target.exists():
        raise InputError(f"{target} has lost some of its files; {prepare_again(target)}")
    remedy = f"; {how_to_prepare(name, data_dir)}"
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
    return {path.name for path in folder.iterdir() if is_whole(final_folder(folder, path.name))}


def is_prepared(name: str, data_dir: epath.PathLike) -> bool:
    """Returns whether a data set of that name is prepared in a folder."""
    return bool(name) and is_whole(final_folder(data_dir, name))


def is_whole(target: epath.Path) -> bool:
    """Returns whether the folder of a data set holds what makes it one."""
    # A folder gets this name when it is whole; but files can be lost later.
    return all((target / file).exists() for file in ("dataset_info.json", "features.json"))


def _other_versions(target: epath.Path) -> list[epath.Path]:
    if not target.parent.exists():
        return []
    return [path for path in target.parent.iterdir() if tfds.core.Version.is_valid(path.name)]


def prepare_again(target: epath.Path) -> str:
    """Returns what to do about a damaged folder of a data set, for a message."""
    name = target.parent.name
    if in_bucket(target):
        return f"if it is damaged there, copy '{name}' there again"
    return f"delete {target} and prepare '{name}' again"


def how_to_prepare(name: str, data_dir: epath.PathLike) -> str:
    """Returns what to do about a data set that is not there, for a message."""
    if in_bucket(data_dir):
        return (
            "prepare it in a local folder, such as data, and copy it when it is whole: "
            f"gcloud storage cp -r data/{name}/{VERSION} {epath.Path(data_dir) / name}/"
        )
    command = f"folder --name {name} --source FOLDER ..."
    if name in OFFICIAL_SETS:
        command = f"{name} --source FOLDER" if OFFICIAL_SETS[name].parts else name
    return f"prepare it with: gcnet prepare_dataset {command} --data_dir {data_dir}"


def _check_split(name: str, split: str, splits: Mapping[str, object], data_dir: Any) -> None:
    if split in splits:
        return
    there = ", ".join(splits)
    if name in OFFICIAL_SETS and split in OFFICIAL_SETS[name].splits:
        raise InputError(
            f"split '{split}' of data set '{name}' is not prepared in {data_dir}, but {there}; "
            f"{how_to_prepare(name, data_dir)} --splits {split}"
        )
    raise InputError(f"data set '{name}' has no split '{split}'; its splits are {there}")
