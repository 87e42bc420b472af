"""Preparing data sets: the official ones, and a user's own images in folders of their classes."""

import functools
from collections.abc import Mapping, Sequence

from etils import epath
from rich.console import Console

from gcnet_jax.config import MAX_IMAGE_PIXELS, Pixels
from gcnet_jax.data import (
    Check,
    OwnFiles,
    Preparable,
    lacking_advice,
    own_files,
    prepare_official,
    prepare_own,
    with_table,
)
from gcnet_jax.errors import printable
from gcnet_jax.tasks.classification.data.class_counts import (
    ClassCounts,
    check_learnable,
    counts_table,
)
from gcnet_jax.tasks.classification.data.classes import CATALOG, ImageClasses
from gcnet_jax.tasks.classification.data.classified_images import ClassifiedImages
from gcnet_jax.tasks.classification.data.datasets import DATA_SETS
from gcnet_jax.tasks.classification.data.sources.class_folders import find_class_folders
from gcnet_jax.tasks.classification.data.sources.stored_images import some_of, with_max_pixels


def prepare(
    name: str,
    data_dir: epath.PathLike,
    source: epath.PathLike | None = None,
    *,
    pixels: Pixels = "as_found",
    subset: bool = False,
    splits: Sequence[str] | None = None,
    max_image_pixels: int = MAX_IMAGE_PIXELS,
) -> epath.Path:
    """Writes an official data set as `array_record` files that every later run reads.

    Splits that are already there are left as they are, and others added to them. An interrupted
    preparation is never taken for a whole one, and the next call goes on where it ended.

    Args:
        name: the data set, a key of `OFFICIAL_SETS`.
        data_dir: folder for all prepared data sets; not in a bucket.
        source: folder with the original files, unpacked or as the archives they are distributed
            in. Refused by data sets that are generated.
        pixels: how to store images; see `ClassifiedImages`.
        subset: whether the source may be a part of the official release, with fewer images or
            without some of the classes, which keep their indices.
        splits: which to prepare, and look for in the source; by default all.
        max_image_pixels: most pixels of an image.

    Returns:
        The folder of this data set.

    Raises:
        InputError: if the name or a split is unknown, `source` is missing, not wanted or not as
            expected, a file of it is not as expected, all training images are of one class or,
            unless it may be a part, one has none, or the data set is there with other pixels or,
            unless that is allowed, as a part only.
    """
    official = DATA_SETS.official_set(name)
    return prepare_official(
        official,
        data_dir,
        source,
        ClassifiedImages(pixels, CATALOG[name]),
        _check(CATALOG[name], None if subset else lacking_advice(source), needs="train"),
        splits=splits,
        subset=subset,
        read=functools.partial(with_max_pixels, max_pixels=max_image_pixels),
    )


def prepare_class_folders(
    name: str,
    data_dir: epath.PathLike,
    source: epath.PathLike,
    *,
    pixels: Pixels = "as_found",
    max_image_pixels: int = MAX_IMAGE_PIXELS,
) -> epath.Path:
    """Writes a user's own images in folders of their classes as a data set; works as `prepare`.

    Args:
        name: what to call the data set.
        data_dir: folder for all prepared data sets; not in a bucket.
        source: the folder that holds `train/CLASS/` with `val/CLASS/` or `test/CLASS/`; or
            `CLASS/` alone, and then every fifth image of a class becomes the split "val", the
            others "train". The classes are those of `train`, in the order of their names. Files
            that are no images are named on stderr and left out.
        pixels: how to store images; see `ClassifiedImages`.
        max_image_pixels: most pixels of an image.

    Returns:
        The folder of this data set.

    Raises:
        InputError: if the name is that of another data set or no name, the tree or a file is not as
            expected, or the data set is there and made from something else.
    """
    data_dir, source = own_files(DATA_SETS, name, data_dir, source)
    classes, examples, left_out = find_class_folders(source)
    if left_out:
        Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(
            printable(f"left out, for they are no images by their names: {some_of(left_out)}")
        )
    return prepare_own(
        name,
        data_dir,
        printable(f"Images in folders of their classes from {source}."),
        ClassifiedImages(pixels, classes),
        with_max_pixels(examples, max_image_pixels),
        _check(classes, "add images to its folder"),
        options="--source",
    )


def _check(classes: ImageClasses, absent: str | None, needs: str | None = None) -> Check:
    """Returns what refuses images that training could not learn from, below a table of them.

    Args:
        classes: of the data set.
        absent: what to do about classes without a training image; None if they may have none.
        needs: the split without which nothing is trained on; None if anything is.
    """

    def check(counts: Mapping[str, ClassCounts]) -> None:
        if needs is None or needs in counts:
            check_learnable(counts, classes, absent=absent)

    return with_table(check, lambda counts: counts_table(counts, classes))


PREPARABLE = Preparable(
    DATA_SETS,
    prepare,
    OwnFiles("class_folders", prepare_class_folders),
    counts_table,
    samples="some images with the names of their classes",
    training=lambda name, _: f"--config=photos:{name}",
)
"""What `gcnet prepare_dataset` can prepare for classification."""
