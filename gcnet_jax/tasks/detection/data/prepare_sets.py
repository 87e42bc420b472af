"""Preparing data sets: the official ones, and a user's own images with jsons in COCO's format."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from gcnet_jax.config import MAX_IMAGE_PIXELS, Orientation, Pixels
from gcnet_jax.data import (
    Check,
    OwnFiles,
    Preparable,
    lacking_advice,
    own_data_dir,
    prepare_official,
    prepare_own,
    with_table,
)
from gcnet_jax.errors import InputError, printable
from gcnet_jax.files import local
from gcnet_jax.tasks.detection.classes import ObjectClasses
from gcnet_jax.tasks.detection.data.annotated_images import AnnotatedImages
from gcnet_jax.tasks.detection.data.datasets import CATALOG, DATA_SETS
from gcnet_jax.tasks.detection.data.object_counts import (
    ObjectCounts,
    check_learnable,
    counts_table,
)
from gcnet_jax.tasks.detection.data.sources.coco_files import (
    Checks,
    CocoFiles,
    faults_listed,
    find_examples,
)


def prepare(
    name: str,
    data_dir: epath.PathLike,
    source: epath.PathLike | None = None,
    *,
    pixels: Pixels = "as_found",
    subset: bool = False,
    splits: Sequence[str] | None = None,
    strict: bool = False,
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
        pixels: how to store images; see `AnnotatedImages`.
        subset: whether the source may be a part of the official release: images without a file are
            left out, and classes may have no object.
        splits: which to prepare, and look for in the source; by default all.
        strict: whether annotations that would be left out of training, images without any, and
            masks without a pixel are refused.
        max_image_pixels: most pixels of an image.

    Returns:
        The folder of this data set.

    Raises:
        AnnotationFaults: annotations or images are not as expected: all that is wrong is listed,
            on stderr too, and nothing is written.
        InputError: if the name or a split is unknown, `source` is missing, not wanted or not as
            expected, no object can be trained on or, unless it may be a part, a class has none, or
            the data set is there with other pixels or, unless that is allowed, as a part only.
    """
    official = DATA_SETS.official_set(name)
    if official.parts:
        find: Any = official.find_examples  # which takes checks where there are files
        found = functools.partial(find, strict=strict, may_lack=subset, max_pixels=max_image_pixels)
        official = dataclasses.replace(official, find_examples=found)
    with faults_listed():
        return prepare_official(
            official,
            data_dir,
            source,
            AnnotatedImages(pixels, CATALOG[name], has_masks=True),
            _check(CATALOG[name], None if subset else lacking_advice(source), needs="train"),
            splits=splits,
            subset=subset,
        )


def prepare_coco_json(
    name: str,
    data_dir: epath.PathLike,
    *,
    train_json: epath.PathLike,
    train_images: epath.PathLike,
    val_json: epath.PathLike,
    val_images: epath.PathLike | None = None,
    pixels: Pixels = "as_found",
    strict: bool = False,
    allow_absent: bool = False,
    orientation: Orientation | None = None,
    max_image_pixels: int = MAX_IMAGE_PIXELS,
) -> epath.Path:
    """Writes a user's own images with annotations as a data set; works as `prepare`.

    Args:
        name: what to call the data set.
        data_dir: folder for all prepared data sets; not in a bucket.
        train_json: annotations to train on, in COCO's format: boxes alone, or with polygons or run
            lengths. The classes are its categories, in its order.
        train_images: the folder that its names of files start from.
        val_json: annotations to evaluate with, of categories among those.
        val_images: the folder of its images; by default the same.
        pixels: how to store images; see `AnnotatedImages`.
        strict: whether annotations that would be left out of training, images without any, and
            masks without a pixel are refused.
        allow_absent: whether categories may have no object that is trained on.
        orientation: whether annotations were made on the images as they are displayed or as they
            are stored, where these differ by EXIF and the sizes fit either way. They are stored as
            the images are displayed.
        max_image_pixels: most pixels of an image.

    Returns:
        The folder of this data set.

    Raises:
        AnnotationFaults: annotations or images are not as expected: all that is wrong is listed,
            on stderr too, and nothing is written.
        InputError: if the name is that of another data set or no name, a folder is none, no object
            can be trained on, or the data set is there and made from something else.
    """
    data_dir = own_data_dir(DATA_SETS, name, data_dir)
    splits = {
        "train": CocoFiles(_file(train_json), _folder(train_images)),
        "val": CocoFiles(_file(val_json), _folder(val_images or train_images)),
    }
    checks = Checks(max_image_pixels, orientation, strict)
    with faults_listed():
        classes, has_masks, examples = find_examples(splits, checks)
    absent = "add some, or pass --allow_absent"
    return prepare_own(
        name,
        data_dir,
        printable(f"Images with annotations of {train_json} and {val_json}."),
        AnnotatedImages(pixels, classes, has_masks),
        examples,
        _check(classes, None if allow_absent else absent),
        options="annotations, --orientation",
    )


def _file(path: epath.PathLike) -> epath.Path:
    return local(path, "copy it first").expanduser()


def _folder(path: epath.PathLike) -> epath.Path:
    folder = local(path, "copy it first").expanduser()
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; expected that of the images")
    return folder


def _check(classes: ObjectClasses, absent: str | None, needs: str | None = None) -> Check:
    """Returns what refuses objects that training could not learn from, below a table of them.

    Args:
        classes: of the data set.
        absent: what to do about classes without an object; None if they may have none.
        needs: the split without which nothing is trained on; None if anything is.
    """

    def check(counts: Mapping[str, ObjectCounts]) -> None:
        if needs is None or needs in counts:
            check_learnable(counts, classes, absent=absent)

    return with_table(check, lambda counts: counts_table(counts, classes))


def _training(name: str, record_format: AnnotatedImages) -> str:
    options = f"--config=mask-rcnn_nuclei:{name}"
    return (
        options if record_format.has_masks else f"{options} --config.model.mask_head.enabled=False"
    )


PREPARABLE = Preparable(
    DATA_SETS,
    prepare,
    OwnFiles(
        "coco_json",
        prepare_coco_json,
        required=("train_json", "train_images", "val_json"),
        options=("val_images", "strict", "allow_absent", "orientation"),
        takes_source=False,
    ),
    counts_table,
    samples="some images with their objects",
    training=_training,
    options=("strict",),
)
"""What `gcnet prepare_dataset` can prepare for detection."""
