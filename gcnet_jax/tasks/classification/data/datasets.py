"""The data sets of classified images: the official ones by name, and whatever users prepare.

A new official data set is one module in `sources/`, one entry in `OFFICIAL_SETS` and its classes in
`classes`. A user's own images need no code: `prepare_class_folders`.
"""

from collections.abc import Mapping
from types import MappingProxyType

from etils import epath

from gcnet_jax.data import DataSets, OfficialSet, Split
from gcnet_jax.errors import InputError, did_you_mean
from gcnet_jax.tasks.classification.data.class_counts import ClassCounts
from gcnet_jax.tasks.classification.data.classes import CATALOG, ImageClasses
from gcnet_jax.tasks.classification.data.classified_images import ClassifiedImages
from gcnet_jax.tasks.classification.data.records import Record
from gcnet_jax.tasks.classification.data.sources.context_scenes import CONTEXT_SCENES
from gcnet_jax.tasks.classification.data.sources.imagenet import IMAGENET

OFFICIAL_SETS: Mapping[str, OfficialSet] = MappingProxyType(
    {official.name: official for official in (CONTEXT_SCENES, IMAGENET)}
)

DATA_SETS = DataSets(
    OFFICIAL_SETS, ClassifiedImages, own_command="class_folders --name {name} --source FOLDER"
)
"""All of them, found by name."""


def open_split(name: str, data_dir: epath.PathLike, split: str) -> Split[Record]:
    """Opens one split for random access; see `gcnet_jax.data.DataSets.open_split`.

    Returns:
        The still encoded records; `decode` turns one into an image and its class index.
    """
    return DATA_SETS.open_split(name, data_dir, split)


def split_names(name: str, data_dir: epath.PathLike) -> tuple[str, ...]:
    """Returns the splits of a prepared data set; raises as `open_split` does."""
    return tuple(DATA_SETS.contents(name, data_dir).splits)


def split_size(name: str, data_dir: epath.PathLike, split: str) -> int:
    """Returns the number of images in a split; raises as `open_split` does."""
    return len(open_split(name, data_dir, split))


def split_class_counts(name: str, data_dir: epath.PathLike, split: str) -> ClassCounts:
    """Returns how many images of each class a split has; raises as `open_split` does."""
    return DATA_SETS.contents(name, data_dir, split).counts(split)


def check_labels(name: str, data_dir: epath.PathLike, split: str) -> None:
    """Refuses a split whose labels mean nothing, whether trained on or compared with.

    Args:
        name: the data set.
        data_dir: the folder it was prepared in.
        split: one of its splits.

    Raises:
        InputError: if all its images are of one class; or as `open_split` says.
    """
    contents = DATA_SETS.contents(name, data_dir, split)
    counts: ClassCounts = contents.counts(split)
    if len(counts.images) < 2:
        names = contents.record_format.classes.names
        only = ", ".join(repr(names[index]) for index in counts.images)
        raise InputError(
            f"all images of split '{split}' of '{name}' are of class {only}: there is nothing to "
            "learn from it or to compare with; expected images of two classes at least"
        )


def dataset_classes(name: str, data_dir: epath.PathLike | None = None) -> ImageClasses:
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
