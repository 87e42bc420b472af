"""Preparing data sets: the official ones, and a user's own images and masks."""

import functools
from collections.abc import Mapping, Sequence

from etils import epath

from gcnet_jax.config import MAX_IMAGE_PIXELS, Orientation, Pixels
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
from gcnet_jax.errors import InputError, printable
from gcnet_jax.files import local
from gcnet_jax.tasks.segmentation.data.catalog import CATALOG, DatasetClasses, read_class_table
from gcnet_jax.tasks.segmentation.data.datasets import DATA_SETS
from gcnet_jax.tasks.segmentation.data.label_counts import (
    LabelCounts,
    Remedies,
    check_learnable,
    counts_table,
)
from gcnet_jax.tasks.segmentation.data.labelled_images import LabelledImages
from gcnet_jax.tasks.segmentation.data.sources import folder
from gcnet_jax.tasks.segmentation.data.sources.file_pairs import with_settings

_MAP = "if 255 stands for a class, map it: --map=255={index} makes 255 class {index}"
_ALLOW_ABSENT = "if that is as it should be, pass --allow_absent"


def prepare(
    name: str,
    data_dir: epath.PathLike,
    source: epath.PathLike | None = None,
    *,
    pixels: Pixels = "as_found",
    subset: bool = False,
    splits: Sequence[str] | None = None,
    orientation: Orientation | None = None,
    max_image_pixels: int = MAX_IMAGE_PIXELS,
) -> epath.Path:
    """Writes an official data set as `array_record` files that every later run reads.

    Splits that are already there are left as they are, and others added to them. An interrupted
    preparation is never taken for a whole one, and the next call goes on where it ended.

    Args:
        name: the data set, a key of `OFFICIAL_SETS`.
        data_dir: folder for all prepared data sets; not in a bucket.
        source: folder with the original files, unpacked or as the archives they are distributed
            in, which are unpacked below `data_dir`. Refused by data sets that are generated.
        pixels: how to store images and labels; see `LabelledImages`.
        subset: whether the source may be a part of the official release.
        splits: which to prepare, and look for in the source; by default all.
        orientation: whether labels were made on the images as they are displayed or as they are
            stored, where these differ by EXIF and the sizes fit either way. Both are stored as the
            images are displayed.
        max_image_pixels: most pixels of an image.

    Returns:
        The folder of this data set.

    Raises:
        InputError: if the name or a split is unknown, `source` is missing, not wanted or not as
            expected, a file of it is not as expected, no training label holds a class or, unless it
            may be a part, each class, or the data set is there with other pixels or, unless that is
            allowed, as a part only.
    """
    official = DATA_SETS.official_set(name)
    # What is generated is whole, and a part need not show every class.
    whole = bool(official.parts) and not subset
    unlabelled = f"is {source} the official set?" if source else lacking_advice(source)
    return prepare_official(
        official,
        data_dir,
        source,
        LabelledImages(pixels, CATALOG[name]),
        _check(
            CATALOG[name],
            Remedies(unlabelled, lacking_advice(source) if whole else None),
            needs="train",
        ),
        splits=splits,
        subset=subset,
        read=functools.partial(with_settings, made_on=orientation, max_pixels=max_image_pixels),
    )


def prepare_folder(
    name: str,
    data_dir: epath.PathLike,
    source: epath.PathLike,
    *,
    images: Mapping[str, Sequence[str]] | Sequence[str],
    masks: Mapping[str, Sequence[str]] | Sequence[str],
    classes: epath.PathLike,
    label_map: Mapping[int, int] | None = None,
    allow_absent: bool = False,
    pixels: Pixels = "as_found",
    orientation: Orientation | None = None,
    max_image_pixels: int = MAX_IMAGE_PIXELS,
) -> epath.Path:
    """Writes a user's own images and masks as a data set; works as `prepare`.

    Args:
        name: what to call the data set.
        data_dir: folder for all prepared data sets; not in a bucket.
        source: the folder that the patterns start from.
        images: patterns of each split's images, such as `{"train": ["train/*_rgb.jpg"]}`; or
            patterns alone, of which every fifth image becomes the split "val", the others "train".
        masks: patterns of each split's masks, such as `{"train": ["train/*_label.png"]}`. A mask
            belongs to the image for which the stars match the same text. It holds class indices, or
            255 where ignored.
        classes: CSV table with the columns name and, unless the colours do not matter, red, green
            and blue; two rows at least, no two of one colour.
        label_map: the class index, or 255 for ignored, of values of the masks that stand for
            another class than their own number says, such as `{255: 1}`.
        allow_absent: whether classes may occur in no training mask. Training splits are those whose
            names begin with "train"; without one, all splits together.
        pixels: how to store images and masks; see `LabelledImages`.
        orientation: whether masks were made on the images as they are displayed or as they are
            stored, where these differ by EXIF and the sizes fit either way. Both are stored as the
            images are displayed.
        max_image_pixels: most pixels of an image.

    Returns:
        The folder of this data set.

    Raises:
        InputError: if the name is that of another data set or no name, the table, a pattern or a
            file is not as expected, training could not learn from the masks, or the data set is
            there and made from something else.
    """
    data_dir, source = own_files(DATA_SETS, name, data_dir, source)
    class_table = local(classes, "copy it first").expanduser()
    if not class_table.exists():
        raise InputError(f"there is no file {class_table}; expected a table of the classes")
    table = read_class_table(class_table)
    folder.check_colors(class_table, table)
    examples = with_settings(
        folder.find_examples(source, images, masks, table, label_map or {}),
        made_on=orientation,
        max_pixels=max_image_pixels,
    )
    remedies = Remedies(_MAP.format(index=1), None if allow_absent else _ALLOW_ABSENT, _MAP)
    return prepare_own(
        name,
        data_dir,
        printable(f"Images and masks from {source}."),
        LabelledImages(pixels, table),
        examples,
        _check(table, remedies),
        options="--map, --orientation",
    )


def _check(classes: DatasetClasses, remedies: Remedies, needs: str | None = None) -> Check:
    """Returns what refuses labels that training could not learn, below a table of what there is.

    Args:
        classes: of the data set.
        remedies: what to do.
        needs: the split without which classes may be absent; None if they must not be.
    """

    def check(counts: Mapping[str, LabelCounts]) -> None:
        lenient = needs is not None and needs not in counts
        check_learnable(counts, classes, remedies._replace(absent=None) if lenient else remedies)

    return with_table(check, lambda counts: counts_table(counts, classes))


PREPARABLE = Preparable(
    DATA_SETS,
    prepare,
    OwnFiles(
        "folder",
        prepare_folder,
        required=("classes", "images", "masks"),
        options=("label_map", "allow_absent", "orientation"),
    ),
    counts_table,
    samples="some images with their masks",
    training=lambda name, _: f"--config=small:{name}",
    options=("orientation",),
)
"""What `gcnet prepare_dataset` can prepare for segmentation."""
