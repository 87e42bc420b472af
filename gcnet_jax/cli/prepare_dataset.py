"""Prepares a data set once; training and evaluation read what it writes.

    gcnet prepare_dataset context_shapes
    gcnet prepare_dataset camvid --source=/path/to/camvid
    gcnet prepare_dataset cityscapes --source=/path/to/archives --pixels=uncompressed
    gcnet prepare_dataset voc12aug --source=/path/to/VOC --splits=val
    gcnet prepare_dataset folder --name=plants --source=/path/to/plants \\
        --images='images/*' --masks='masks/*' --classes=classes.csv
    gcnet prepare_dataset folder --name=plants --source=/path/to/plants \\
        --images='train=images/train/*.jpg' --images='val=images/val/*.jpg' \\
        --masks='train=masks/train/*.png' --masks='val=masks/val/*.png' --classes=classes.csv

The official sets are ade20k, camvid, cityscapes, context_shapes and voc12aug; `folder` makes a
data set of your own images and masks. An image belongs to the mask for which the stars of its
pattern match the same text. Without splits every fifth image is kept for evaluation. Masks hold the
classes' indices, and 255 where ignored; values that stand for another class are mapped, as
--map=255=1 does for masks of 0 and 255. Every image and label is checked while it is written, and
their classes are counted: one that occurs in no training mask is refused. A picture of samples is
left with the data. After an interruption the same command goes on where it ended; splits that are
already prepared are left as they are. With --splits only the files of these splits are needed, and
a later start adds others.
"""

import os
import shlex
from collections.abc import Sequence
from typing import Any

from absl import flags

from gcnet_jax.cli import command, options
from gcnet_jax.cli.importing import importing
from gcnet_jax.config import MAX_IMAGE_PIXELS, MOST_IMAGE_PIXELS, ORIENTATIONS, PIXELS
from gcnet_jax.errors import UsageError

_OPTIONS = flags.FlagValues()
_SOURCE = flags.DEFINE_string(
    "source",
    None,
    "folder with the original files, unpacked or as their official archives",
    flag_values=_OPTIONS,
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", "data", "folder for all prepared data sets", flag_values=_OPTIONS
)
_PIXELS = flags.DEFINE_enum(
    "pixels",
    "as_found",
    PIXELS,
    "as_found keeps the image files; uncompressed takes more room, and no time to decode",
    flag_values=_OPTIONS,
)
_ORIENTATION = flags.DEFINE_enum(
    "orientation",
    None,
    ORIENTATIONS,
    "whether masks were made on images as displayed or as stored (EXIF), where sizes fit both",
    flag_values=_OPTIONS,
)
_MAX_IMAGE_PIXELS = flags.DEFINE_integer(
    "max_image_pixels",
    MAX_IMAGE_PIXELS,
    "most pixels of an image",
    lower_bound=1,
    upper_bound=MOST_IMAGE_PIXELS,
    flag_values=_OPTIONS,
)
_SUBSET = flags.DEFINE_bool(
    "subset",
    False,
    "the source is a part of an official set: do not expect all its images",
    flag_values=_OPTIONS,
)
_SPLITS = flags.DEFINE_list(
    "splits",
    None,
    "splits of an official set to prepare, such as train,val (default: all)",
    flag_values=_OPTIONS,
)
_NAME = flags.DEFINE_string("name", None, "folder: what to call the data set", flag_values=_OPTIONS)
_IMAGES = flags.DEFINE_multi_string(
    "images",
    [],
    "folder: PATTERN of the images, such as 'images/*', or SPLIT=PATTERN of those of a split",
    flag_values=_OPTIONS,
)
_MASKS = flags.DEFINE_multi_string(
    "masks",
    [],
    "folder: PATTERN or SPLIT=PATTERN of their masks: class indices, 255 where ignored",
    flag_values=_OPTIONS,
)
_CLASSES = flags.DEFINE_string(
    "classes",
    None,
    "folder: CSV file with the columns name and, if need be, red, green, blue",
    flag_values=_OPTIONS,
)
_MAP = flags.DEFINE_multi_string(
    "map",
    [],
    "folder: VALUE=CLASS of a mask value that stands for another class, or 255: ignored",
    flag_values=_OPTIONS,
)
_ALLOW_ABSENT = flags.DEFINE_bool(
    "allow_absent",
    False,
    "folder: classes may occur in no training mask",
    flag_values=_OPTIONS,
)

_OWN = "folder"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status; see `gcnet_jax.cli.command.run`."""
    return command.run(_prepare, __name__, _OPTIONS, arguments)


def _prepare(arguments: list[str]) -> None:
    with importing():
        from gcnet_jax.data.preparation import SAMPLES
        from gcnet_jax.tasks.segmentation.data import (
            OFFICIAL_SETS,
            prepare,
            prepare_folder,
            split_names,
            split_size,
        )
    if len(arguments) != 1:
        raise UsageError(
            f"give the name of one data set: {', '.join(OFFICIAL_SETS)}, or {_OWN}; see --help"
        )
    name = arguments[0]
    how: Any = {
        "pixels": _PIXELS.value,
        "orientation": _ORIENTATION.value,
        "max_image_pixels": _MAX_IMAGE_PIXELS.value,
    }
    if name == _OWN:
        for flag in (_SUBSET, _SPLITS):
            if flag.value:
                raise UsageError(f"--{flag.name} is for official data sets, not for '{_OWN}'")
        name, source, classes = (
            options.required(flag.value, f"--{flag.name}") for flag in (_NAME, _SOURCE, _CLASSES)
        )
        for flag in (_IMAGES, _MASKS):
            options.required(next(iter(flag.value), None), f"--{flag.name}")
        folder = prepare_folder(
            name,
            _DATA_DIR.value,
            source,
            images=_patterns(_IMAGES),
            masks=_patterns(_MASKS),
            classes=classes,
            label_map=_label_map(),
            allow_absent=_ALLOW_ABSENT.value,
            **how,
        )
    else:
        for flag in (_NAME, _IMAGES, _MASKS, _CLASSES, _MAP, _ALLOW_ABSENT):
            if flag.value:
                raise UsageError(f"--{flag.name} is for '{_OWN}', not for '{name}'")
        how |= {"subset": _SUBSET.value, "splits": _SPLITS.value}
        folder = prepare(name, _DATA_DIR.value, _SOURCE.value, **how)
    for split in split_names(name, _DATA_DIR.value):
        print(f"{split:8} {split_size(name, _DATA_DIR.value, split)} images")
    _show_labels(name)
    print(f"{name} is prepared in {folder}")
    if (folder / SAMPLES).exists():  # earlier versions made none
        print(f"look at some images with their masks: {folder / SAMPLES}")
    if arguments == [_OWN]:
        print(f"train on it with: {_training_command(name)}")


def _training_command(name: str) -> str:
    workdir = shlex.quote(os.path.join("runs", name))  # noqa: PTH118
    line = f"gcnet train --config=small:{name} --workdir={workdir}"
    if _DATA_DIR.value != _DATA_DIR.default:
        line += f" --config.data.data_dir={shlex.quote(_DATA_DIR.value)}"
    return line


def _show_labels(name: str) -> None:
    import rich.console

    from gcnet_jax.tasks.segmentation.data import dataset_classes, split_label_counts, split_names
    from gcnet_jax.tasks.segmentation.data.label_counts import counts_table

    splits = split_names(name, _DATA_DIR.value)
    counts = {split: split_label_counts(name, _DATA_DIR.value, split) for split in splits}
    counted = {split: of_split for split, of_split in counts.items() if of_split is not None}
    if counted:  # earlier versions did not
        table = counts_table(counted, dataset_classes(name, _DATA_DIR.value))
        rich.console.Console().print(table)


def _label_map() -> dict[int, int]:
    label_map: dict[int, int] = {}
    for text in _MAP.value:
        value, _, index = text.partition("=")
        try:
            pair = int(value), int(index)
        except ValueError as error:
            raise UsageError(f"--map: '{text}' is not VALUE=CLASS, such as 255=1") from error
        if label_map.setdefault(*pair) != pair[1]:
            raise UsageError(f"--map: value {pair[0]} is given two classes; expected one")
    return label_map


def _patterns(flag: flags.FlagHolder) -> dict[str, list[str]] | list[str]:
    if not any("=" in value for value in flag.value):
        return flag.value
    patterns: dict[str, list[str]] = {}
    for value in flag.value:
        split, separator, pattern = value.partition("=")
        if not separator or not pattern:
            raise UsageError(
                f"--{flag.name}: '{value}' is not SPLIT=PATTERN, as train=images/*.jpg"
            )
        patterns.setdefault(split, []).append(pattern)
    return patterns
