"""Preparing data sets: the official ones, and a user's own images and masks."""

from collections.abc import Mapping, Sequence

from etils import epath

from gcnet_jax.config import MAX_IMAGE_PIXELS, Orientation, Pixels
from gcnet_jax.data.catalog import CATALOG, DatasetClasses, read_class_table
from gcnet_jax.data.contents import Contents, final_folder
from gcnet_jax.data.datasets import OFFICIAL_SETS, how_to_prepare, is_whole, prepare_again
from gcnet_jax.data.label_counts import Remedies
from gcnet_jax.data.preparation import fingerprints, write_dataset
from gcnet_jax.data.sources import archives, folder
from gcnet_jax.data.sources.examples import Examples, OfficialSet
from gcnet_jax.data.sources.file_pairs import with_settings
from gcnet_jax.errors import InputError, UsageError, did_you_mean, printable
from gcnet_jax.files import local

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
    """Writes an official data set as ``array_record`` files that every later run reads.

    Splits that are already there are left as they are, and others added to them. An interrupted
    preparation is never taken for a whole one, and the next call goes on where it ended.

    Args:
        name: the data set, a key of ``OFFICIAL_SETS``.
        data_dir: folder for all prepared data sets; not in a bucket.
        source: folder with the original files, unpacked or as the archives they are distributed
          in, which are unpacked below ``data_dir``. Refused by data sets that are generated.
        pixels: how to store images and labels; see ``gcnet_jax.data.records``.
        subset: whether the source may be a part of the official release.
        splits: which to prepare, and look for in the source; by default all.
        orientation: whether labels were made on the images as they are displayed or as they are
          stored, where these differ by EXIF and the sizes fit either way. Both are stored as the
          images are displayed.
        max_image_pixels: most pixels of an image.

    Returns:
        The folder of this data set.

    Raises:
        InputError: if the name or a split is unknown, ``source`` is missing, not wanted or not as
          expected, a file of it is not as expected, no training label holds a class or, unless it
          may be a part, each class, or the data set is there with other pixels or, unless that is
          allowed, as a part only.
    """
    if name not in OFFICIAL_SETS:
        raise UsageError(
            f"there is no official data set '{name}'{did_you_mean(name, OFFICIAL_SETS)}; "
            f"there are: {', '.join(OFFICIAL_SETS)}"
        )
    official = OFFICIAL_SETS[name]
    data_dir = local(data_dir, how_to_prepare(name, data_dir))
    wanted = _checked_splits(official, splits)
    target = final_folder(data_dir, name)
    if target.exists():
        contents = _whole_contents(target)
        _check_pixels(target, contents, pixels)
        sizes = {s: len(contents.sizes(s)) for s in wanted if s in contents.splits}
        if not subset:
            _check_counts(official, sizes, f"{target} holds a part of it: delete that, or")
        wanted = [split for split in wanted if split not in contents.splits]
    source = _checked_source(official, source, wanted)
    if not wanted:
        return target
    roots = []
    if source is not None:
        unpacked = target.with_name("unpacked")
        roots = archives.locate(official.parts_for(wanted), source, unpacked)
    examples = with_settings(
        official.find_examples(roots, wanted), made_on=orientation, max_pixels=max_image_pixels
    )
    if not subset:
        _check_counts(
            official,
            {split: len(examples[split]) for split in examples},
            f"if {source} is meant to be a part of the official set,",
        )
    # What is generated is whole, and a part need not show every class.
    absent = f"if {source} is meant to be a part of the official set, pass --subset"
    complete = bool(official.parts) and not subset and "train" in wanted
    remedies = Remedies(f"is {source} the official set?", absent if complete else None)
    write_dataset(data_dir, name, official.description, CATALOG[name], examples, pixels, remedies)
    return target


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
    """Writes a user's own images and masks as a data set; works as :func:`prepare`.

    Args:
        name: what to call the data set.
        data_dir: folder for all prepared data sets; not in a bucket.
        source: the folder that the patterns start from.
        images: patterns of each split's images, such as ``{"train": ["train/*_rgb.jpg"]}``; or
          patterns alone, of which every fifth image becomes the split "val", the others "train".
        masks: patterns of each split's masks, such as ``{"train": ["train/*_label.png"]}``. A mask
          belongs to the image for which the stars match the same text. It holds class indices, or
          255 where ignored.
        classes: CSV table with the columns name and, unless the colours do not matter, red, green
          and blue; two rows at least, no two of one colour.
        label_map: the class index, or 255 for ignored, of values of the masks that stand for
          another class than their own number says, such as ``{255: 1}``.
        allow_absent: whether classes may occur in no training mask. Training splits are those whose
          names begin with "train"; without one, all splits together.
        pixels: how to store images and masks; see ``gcnet_jax.data.records``.
        orientation: whether masks were made on the images as they are displayed or as they are
          stored, where these differ by EXIF and the sizes fit either way. Both are stored as the
          images are displayed.
        max_image_pixels: most pixels of an image.

    Returns:
        The folder of this data set.

    Raises:
        InputError: if the name is that of another data set or no name, the table, a pattern or a
          file is not as expected, training could not learn from the masks, or the data set is there
          and made from something else.
    """
    if name in CATALOG:
        raise UsageError(f"'{name}' is the name of a data set of this library; choose another")
    folder.check_name(name, "data set")
    data_dir = local(data_dir, how_to_prepare(name, data_dir))
    source, class_table = (local(path, "copy it first").expanduser() for path in (source, classes))
    if not source.is_dir():
        raise InputError(f"source {source} is not a folder")
    if not class_table.exists():
        raise InputError(f"there is no file {class_table}; expected a table of the classes")
    table = read_class_table(class_table)
    folder.check_colors(class_table, table)
    examples = with_settings(
        folder.find_examples(source, images, masks, table, label_map or {}),
        made_on=orientation,
        max_pixels=max_image_pixels,
    )
    target = final_folder(data_dir, name)
    if target.exists():
        contents = _whole_contents(target)
        _check_pixels(target, contents, pixels)
        _check_unchanged(target, contents, table, examples)
        return target
    remedies = Remedies(_MAP.format(index=1), None if allow_absent else _ALLOW_ABSENT, _MAP)
    description = printable(f"Images and masks from {source}.")
    write_dataset(data_dir, name, description, table, examples, pixels, remedies)
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
    """The source of some splits; of none where nothing is to be prepared."""
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


def _whole_contents(target: epath.Path) -> Contents:
    if not is_whole(target):
        raise InputError(f"{target} exists but holds no whole data set; {prepare_again(target)}")
    return Contents.read(target)


def _check_pixels(target: epath.Path, contents: Contents, pixels: Pixels) -> None:
    if contents.pixels != pixels:
        raise InputError(
            f"{target} is prepared with pixels '{contents.pixels}', not '{pixels}'; "
            f"{prepare_again(target)}"
        )


def _check_unchanged(
    target: epath.Path, contents: Contents, classes: DatasetClasses, examples: Examples
) -> None:
    if contents.classes != classes:
        raise InputError(f"{target} is prepared with other classes; {prepare_again(target)}")
    before = {
        split: [shards[index].fingerprint for index in sorted(shards)]
        for split, shards in contents.splits.items()
    }
    if before != fingerprints(examples):
        raise InputError(
            f"{target} is prepared from other files (by name, size or time of change) or read "
            "otherwise (--map, --orientation); "
            f"{prepare_again(target)}"
        )


def _check_counts(official: OfficialSet, found: Mapping[str, int], advice: str) -> None:
    wrong = [
        f"{count} images in '{split}', expected {official.counts[split]}"
        for split, count in found.items()
        if official.counts.get(split, count) != count
    ]
    if wrong:
        raise InputError(
            f"data set '{official.name}' is not complete: {'; '.join(wrong)}; "
            f"{advice} pass --subset"
        )
