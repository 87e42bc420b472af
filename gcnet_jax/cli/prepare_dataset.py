"""Prepares a data set once; training and evaluation read what it writes.

    python scripts/prepare_dataset.py context_shapes
    python scripts/prepare_dataset.py camvid --source=/path/to/camvid
    python scripts/prepare_dataset.py cityscapes --source=/path/to/archives --pixels=uncompressed
    python scripts/prepare_dataset.py folder --name=plants --source=/path/to/plants
        --images='train=images/train/*.jpg' --images='val=images/val/*.jpg'
        --masks='train=masks/train/*.png' --masks='val=masks/val/*.png' --classes=classes.csv

The official sets are ade20k, camvid, cityscapes, context_shapes and voc12aug; `folder` makes a
data set of your own images and masks. An image belongs to the mask for which the stars of its
pattern match the same text. Every image and label is checked while it is written. After an
interruption the same command goes on where it ended; a data set that is already prepared is left
as it is.
"""

from collections.abc import Sequence
from typing import cast

from absl import flags

from gcnet_jax.cli import command, options
from gcnet_jax.data import (
    OFFICIAL_SETS,
    PIXELS,
    Pixels,
    prepare,
    prepare_folder,
    split_names,
    split_size,
)
from gcnet_jax.errors import InputError

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
_SUBSET = flags.DEFINE_bool(
    "subset",
    False,
    "the source is a part of an official set: do not expect all its images",
    flag_values=_OPTIONS,
)
_NAME = flags.DEFINE_string("name", None, "folder: what to call the data set", flag_values=_OPTIONS)
_IMAGES = flags.DEFINE_multi_string(
    "images",
    [],
    "folder: SPLIT=PATTERN of a split's images, such as 'train=images/train/*.jpg'",
    flag_values=_OPTIONS,
)
_MASKS = flags.DEFINE_multi_string(
    "masks",
    [],
    "folder: SPLIT=PATTERN of a split's masks: class indices, 255 where ignored",
    flag_values=_OPTIONS,
)
_CLASSES = flags.DEFINE_string(
    "classes",
    None,
    "folder: CSV file with the columns name and, if need be, red, green, blue",
    flag_values=_OPTIONS,
)

_OWN = "folder"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status; see `gcnet_jax.cli.command.run`."""
    return command.run(_prepare, __name__, _OPTIONS, arguments)


def _prepare(arguments: list[str]) -> None:
    if len(arguments) != 1:
        raise InputError(
            f"give the name of one data set: {', '.join(OFFICIAL_SETS)}, or {_OWN}; see --help"
        )
    name, pixels = arguments[0], cast(Pixels, _PIXELS.value)
    if name == _OWN:
        if _SUBSET.value:
            raise InputError(f"--subset is for official data sets, not for '{_OWN}'")
        name = options.required(_NAME.value, "--name")
        folder = prepare_folder(
            name,
            _DATA_DIR.value,
            options.required(_SOURCE.value, "--source"),
            images=_patterns(_IMAGES),
            masks=_patterns(_MASKS),
            classes=options.required(_CLASSES.value, "--classes"),
            pixels=pixels,
        )
    else:
        for flag in (_NAME, _IMAGES, _MASKS, _CLASSES):
            if flag.value:
                raise InputError(f"--{flag.name} is for '{_OWN}', not for '{name}'")
        folder = prepare(name, _DATA_DIR.value, _SOURCE.value, pixels=pixels, subset=_SUBSET.value)
    for split in split_names(name, _DATA_DIR.value):
        print(f"{split:8} {split_size(name, _DATA_DIR.value, split)} images")
    print(f"{name} is prepared in {folder}")


def _patterns(flag: flags.FlagHolder) -> dict[str, list[str]]:
    patterns: dict[str, list[str]] = {}
    for value in flag.value:
        split, separator, pattern = value.partition("=")
        if not separator or not pattern:
            raise InputError(
                f"--{flag.name}: '{value}' is not SPLIT=PATTERN, as train=images/*.jpg"
            )
        patterns.setdefault(split, []).append(pattern)
    return patterns
