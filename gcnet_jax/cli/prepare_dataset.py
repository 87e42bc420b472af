"""Prepares a data set once; training and evaluation read what it writes.

    gcnet prepare_dataset context_shapes
    gcnet prepare_dataset camvid --source=/path/to/camvid
    gcnet prepare_dataset cityscapes --source=/path/to/archives \\
        --pixels=uncompressed
    gcnet prepare_dataset voc12aug --source=/path/to/VOC --splits=val
    gcnet prepare_dataset folder --name=plants --source=/path/to/plants \\
        --images='images/*' --masks='masks/*' --classes=classes.csv
    gcnet prepare_dataset folder --name=plants --source=/path/to/plants \\
        --images='train=images/train/*.jpg' --images='val=images/val/*.jpg' \\
        --masks='train=masks/train/*.png' --masks='val=masks/val/*.png' \\
        --classes=classes.csv
    gcnet prepare_dataset imagenet --source=/path/to/archives
    gcnet prepare_dataset class_folders --name=flowers --source=/path/to/flowers
    gcnet prepare_dataset coco --source=/path/to/coco
    gcnet prepare_dataset coco_json --name=cells --train_json=train.json \\
        --train_images=images --val_json=val.json

The official sets are, for segmentation, ade20k, camvid, cityscapes, context_shapes and voc12aug;
for classification, context_scenes and imagenet; for detection, coco and context_objects. Every file
is checked while it is written and what it shows is counted, and a picture of samples is left with
the data. After an interruption the same command goes on where it ended; splits that are already
prepared are left as they are. With --splits only the files of these splits are needed, and a later
start adds others.

`folder` makes a data set of your own images and masks. An image belongs to the mask for which the
stars of its pattern match the same text. Without splits every fifth image is kept for evaluation.
Masks hold the classes' indices, and 255 where ignored; values that stand for another class are
mapped, as --map=255=1 does for masks of 0 and 255. A class that occurs in no training mask is
refused.

`class_folders` makes a data set of your own images that lie in folders named by their classes:
train/CLASS/ with val/CLASS/ or test/CLASS/ below --source; or CLASS/ alone, and then every fifth
image of a class is kept for evaluation.

`coco_json` makes a data set of your own images with annotations in COCO's format: boxes alone, or
with polygons or run lengths. All that is wrong with them is listed before anything is written.
Objects that would be left out of training, as they lie outside the image or have no area, images
without any and masks without a pixel are counted, and refused with --strict.
"""

import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from absl import flags
from etils import epath

from gcnet_jax.cli import command, options
from gcnet_jax.cli.importing import importing
from gcnet_jax.config import MAX_IMAGE_PIXELS, MOST_IMAGE_PIXELS, ORIENTATIONS, PIXELS
from gcnet_jax.errors import UsageError, did_you_mean

if TYPE_CHECKING:  # which takes long to import
    from gcnet_jax.data import Preparable

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
    "whether masks or annotations were made on images as displayed or as stored (EXIF), where "
    "sizes fit both",
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
_NAME = flags.DEFINE_string(
    "name",
    None,
    "folder, class_folders, coco_json: what to call the data set",
    flag_values=_OPTIONS,
)
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
    "folder, coco_json: classes may occur in nothing that is trained on",
    flag_values=_OPTIONS,
)
_TRAIN_JSON = flags.DEFINE_string(
    "train_json", None, "coco_json: annotations to train on", flag_values=_OPTIONS
)
_TRAIN_IMAGES = flags.DEFINE_string(
    "train_images", None, "coco_json: folder of their images", flag_values=_OPTIONS
)
_VAL_JSON = flags.DEFINE_string(
    "val_json", None, "coco_json: annotations to evaluate with", flag_values=_OPTIONS
)
_VAL_IMAGES = flags.DEFINE_string(
    "val_images",
    None,
    "coco_json: folder of their images (default: that of --train_images)",
    flag_values=_OPTIONS,
)
_STRICT = flags.DEFINE_bool(
    "strict",
    False,
    "coco, coco_json: refuse objects that would be left out of training, images without any, and "
    "masks without a pixel",
    flag_values=_OPTIONS,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status; see `gcnet_jax.cli.command.run`."""
    return command.run(_prepare, __name__, _OPTIONS, arguments)


def _prepare(arguments: list[str]) -> None:
    with importing():
        from gcnet_jax.cli.data_sets import preparables, split_sizes
        from gcnet_jax.data.preparation import SAMPLES
    tasks = preparables()
    official = {name: of for of in tasks.values() for name in of.sets.official}
    own = {of.own.command: of for of in tasks.values()}
    if len(arguments) != 1:
        raise UsageError(
            f"give the name of one data set: {', '.join(official)}, or {' or '.join(own)} for "
            "files of your own; see --help"
        )
    (given,) = arguments
    if given not in official and given not in own:
        raise UsageError(
            f"there is no official data set '{given}'{did_you_mean(given, [*official, *own])}; "
            f"there are: {', '.join(official)}, and {' and '.join(own)} for files of your own"
        )
    preparable = own.get(given) or official[given]
    _refuse_others(given, tasks)
    if given in own:
        name, folder = _prepare_own(preparable, tasks)
    else:
        name = given
        folder = preparable.prepare(
            name,
            _DATA_DIR.value,
            _SOURCE.value,
            pixels=_PIXELS.value,
            max_image_pixels=_MAX_IMAGE_PIXELS.value,
            subset=_SUBSET.value,
            splits=_SPLITS.value,
            **_values(preparable.options),
        )
    for split, size in split_sizes(name, _DATA_DIR.value, preparable).items():
        print(f"{split:8} {size} images")
    _show_counts(name, preparable)
    print(f"{name} is prepared in {folder}")
    if (folder / SAMPLES).exists():  # earlier versions made none
        print(f"look at {preparable.samples}: {folder / SAMPLES}")
    if given in own:
        print(f"train on it with: {_training_command(name, preparable)}")


def _prepare_own(
    preparable: "Preparable", tasks: Mapping[str, "Preparable"]
) -> tuple[str, epath.Path]:
    """Prepares a user's own files; returns what the data set is called, and its folder."""
    own = preparable.own
    name = options.required(_NAME.value, f"--{_NAME.name}")
    source = [options.required(_SOURCE.value, f"--{_SOURCE.name}")] if own.takes_source else []
    for option in own.required:
        flag = _OF_TASKS[option][0]
        if not flag.value:
            options.required(None, f"--{flag.name}")
    for task, other in tasks.items():
        if other is preparable:
            continue
        if name in other.sets.official:
            raise UsageError(f"'{name}' is the name of a data set of this library; choose another")
        if other.sets.holds(name, _DATA_DIR.value):
            raise UsageError(
                f"'{name}' is prepared in {_DATA_DIR.value} for {task}; choose another name"
            )
    folder = own.prepare(
        name,
        _DATA_DIR.value,
        *source,
        pixels=_PIXELS.value,
        max_image_pixels=_MAX_IMAGE_PIXELS.value,
        **_values([*own.required, *own.options]),
    )
    return name, folder


def _values(names: Iterable[str]) -> dict[str, Any]:
    """The values of options that not all tasks take, as keyword arguments."""
    return {name: value(flag) for name, (flag, value) in _OF_TASKS.items() if name in names}


def _refuse_others(given: str, tasks: Mapping[str, "Preparable"]) -> None:
    """Raises UsageError if an option is given that means nothing to what is prepared."""
    own = [of.own.command for of in tasks.values()]
    for of in tasks.values():
        if given == of.own.command and _SOURCE.value and not of.own.takes_source:
            named = " ".join(f"--{_OF_TASKS[option][0].name}" for option in of.own.required)
            raise UsageError(f"--{_SOURCE.name} is not for '{given}', which takes {named}")
    for flag in (_SUBSET, _SPLITS):
        if flag.value and given in own:
            raise UsageError(f"--{flag.name} is for official data sets, not for '{given}'")
    takers: list[tuple[flags.FlagHolder, list[str]]] = [(_NAME, own)]
    for option, (flag, _) in _OF_TASKS.items():
        of_option: list[str] = []
        for of in tasks.values():
            if option in (*of.own.required, *of.own.options):
                of_option.append(of.own.command)
            if option in of.options:
                of_option += of.sets.official
        takers.append((flag, of_option))
    for flag, names in takers:
        if flag.value and given not in names:
            named = " or ".join(f"'{name}'" for name in names)
            raise UsageError(f"--{flag.name} is for {named}, not for '{given}'")


def _training_command(name: str, preparable: "Preparable") -> str:
    workdir = shlex.quote(os.path.join("runs", name))  # noqa: PTH118
    record_format = preparable.sets.contents(name, _DATA_DIR.value).record_format
    line = f"gcnet train {preparable.training(name, record_format)} --workdir={workdir}"
    if _DATA_DIR.value != _DATA_DIR.default:
        line += f" --config.data.data_dir={shlex.quote(_DATA_DIR.value)}"
    return line


def _show_counts(name: str, preparable: "Preparable") -> None:
    import rich.console

    contents = preparable.sets.contents(name, _DATA_DIR.value)
    counts = {split: contents.counts(split) for split in contents.splits}
    counted = {split: of_split for split, of_split in counts.items() if of_split is not None}
    if counted:  # earlier versions did not
        table = preparable.counts_table(counted, contents.record_format.classes)
        rich.console.Console().print(table)


def _as_given(flag: flags.FlagHolder) -> Any:
    return flag.value


def _label_map(flag: flags.FlagHolder) -> dict[int, int]:
    label_map: dict[int, int] = {}
    for text in flag.value:
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


_OF_TASKS: Mapping[str, tuple[flags.FlagHolder, Callable[[flags.FlagHolder], Any]]] = (
    MappingProxyType(
        {
            "images": (_IMAGES, _patterns),
            "masks": (_MASKS, _patterns),
            "classes": (_CLASSES, _as_given),
            "label_map": (_MAP, _label_map),
            "allow_absent": (_ALLOW_ABSENT, _as_given),
            "orientation": (_ORIENTATION, _as_given),
            "train_json": (_TRAIN_JSON, _as_given),
            "train_images": (_TRAIN_IMAGES, _as_given),
            "val_json": (_VAL_JSON, _as_given),
            "val_images": (_VAL_IMAGES, _as_given),
            "strict": (_STRICT, _as_given),
        }
    )
)
"""The options that not all tasks take, by the arguments that they are: flag, and its value."""
