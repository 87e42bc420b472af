"""The data sets of images and labels: the official ones by name, and whatever users prepare.

A new official data set is one module in `sources/`, one entry in `OFFICIAL_SETS` and its classes in
the catalog. A user's own images need no code: `prepare_folder`.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from etils import epath
from jaxtyping import Int32

from gcnet_jax.data import DataSets, OfficialSet, Split
from gcnet_jax.errors import InputError, did_you_mean
from gcnet_jax.tasks.segmentation.data.catalog import CATALOG, DatasetClasses
from gcnet_jax.tasks.segmentation.data.label_counts import LabelCounts
from gcnet_jax.tasks.segmentation.data.labelled_images import LabelledImages
from gcnet_jax.tasks.segmentation.data.records import Record
from gcnet_jax.tasks.segmentation.data.sources.ade20k import ADE20K
from gcnet_jax.tasks.segmentation.data.sources.camvid import CAMVID
from gcnet_jax.tasks.segmentation.data.sources.cityscapes import CITYSCAPES
from gcnet_jax.tasks.segmentation.data.sources.context_shapes import CONTEXT_SHAPES
from gcnet_jax.tasks.segmentation.data.sources.voc12aug import VOC12AUG

OFFICIAL_SETS: Mapping[str, OfficialSet] = MappingProxyType(
    {official.name: official for official in (ADE20K, CAMVID, CITYSCAPES, CONTEXT_SHAPES, VOC12AUG)}
)

DATA_SETS = DataSets(
    OFFICIAL_SETS, LabelledImages, own_command="folder --name {name} --source FOLDER ..."
)
"""All of them, found by name."""


def open_split(name: str, data_dir: epath.PathLike, split: str) -> Split[Record]:
    """Opens one split for random access; see `gcnet_jax.data.DataSets.open_split`.

    Returns:
        The still encoded records; `decode` turns one into arrays.
    """
    return DATA_SETS.open_split(name, data_dir, split)


def split_names(name: str, data_dir: epath.PathLike) -> tuple[str, ...]:
    """Returns the splits of a prepared data set; raises as `open_split` does."""
    return tuple(DATA_SETS.contents(name, data_dir).splits)


def split_size(name: str, data_dir: epath.PathLike, split: str) -> int:
    """Returns the number of images in a split; raises as `open_split` does."""
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
    return DATA_SETS.image_sizes(name, data_dir, split)


def split_label_counts(name: str, data_dir: epath.PathLike, split: str) -> LabelCounts | None:
    """Returns how often each class occurs in a split; None if the set was prepared without counts.

    Args:
        name: the data set.
        data_dir: the folder it was prepared in.
        split: one of its splits.

    Raises:
        InputError: if the name or the split is unknown, or the set is not prepared.
    """
    return DATA_SETS.contents(name, data_dir, split).counts(split)


def check_labels(name: str, data_dir: epath.PathLike, split: str) -> None:
    """Refuses a split whose labels mean nothing, whether trained on or compared with.

    Args:
        name: the data set.
        data_dir: the folder it was prepared in.
        split: one of its splits.

    Raises:
        InputError: if there is one class only, which every pixel would be given, or no pixel has
            one, as in the test split of Cityscapes; or as `split_image_sizes` says.
    """
    contents = DATA_SETS.contents(name, data_dir, split)
    classes = contents.record_format.classes
    if classes.num_classes < 2:
        raise InputError(
            f"data set '{name}' has the one class {', '.join(classes.names)!r}, and what "
            "is the same everywhere cannot be learnt; prepare it with a class for the rest too, "
            "such as 'background'"
        )
    counts: LabelCounts | None = contents.counts(split)
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
    return DATA_SETS.contents(name, data_dir).record_format.classes
