"""A user's own images and masks: patterns for the files, and a table of the classes."""

import functools
from collections.abc import Mapping, Sequence

from etils import epath

from gcnet_jax.data.examples import Examples
from gcnet_jax.data.folders import check_name
from gcnet_jax.data.patterns import Patterns
from gcnet_jax.errors import InputError, UsageError
from gcnet_jax.tasks.segmentation.data.catalog import IGNORE_LABEL, DatasetClasses
from gcnet_jax.tasks.segmentation.data.sources.file_pairs import FilePair, find_pairs
from gcnet_jax.tasks.segmentation.data.sources.labels import LabelTable, read_label_image

_EACH_OF_VAL, _FIRST_OF_VAL = 5, 2
_REMEDY = "give it a class with --map={value}=CLASS, or ignore it with --map={value}=255"


def check_colors(path: epath.Path, classes: DatasetClasses) -> None:
    """Raises InputError if two classes have one colour, so that pictures show them as one."""
    first: dict[tuple[int, int, int], str] = {}
    for name, color in zip(classes.names, classes.palette, strict=True):
        if first.setdefault(color, name) != name:
            raise InputError(
                f"{path}: {first[color]!r} and {name!r} have the same colour, "
                f"{', '.join(map(str, color))}; give one of them another, or leave out the columns "
                "red, green and blue"
            )


def find_examples(
    source: epath.Path,
    images: Mapping[str, Sequence[str]] | Sequence[str],
    masks: Mapping[str, Sequence[str]] | Sequence[str],
    classes: DatasetClasses,
    label_map: Mapping[int, int],
) -> Examples:
    """Finds the images and masks of a user's own data set.

    Args:
        source: the folder that the patterns start from.
        images: patterns of each split's images; or patterns alone, for images that are divided
            into "train" and "val" here.
        masks: patterns of each split's masks, which hold class indices, or 255 where ignored.
        classes: the classes.
        label_map: class index or 255 of mask values that stand for another class than their own
          number says.

    Raises:
        InputError: if images and masks have different splits, or there are too few to divide, the
          map names what is no value or no class, or as `find_pairs` says.
    """
    if not images:
        raise UsageError("there are no patterns of images; expected one a split at least")
    _check_map(label_map, classes)
    indices = LabelTable.of_indices(classes.num_classes)
    table = LabelTable({**indices.classes, **label_map}, remedy=_REMEDY)
    read_label = functools.partial(read_label_image, table=table)
    reading = " ".join(f"{value}={label_map[value]}" for value in sorted(label_map))

    def pairs(images: Sequence[str], masks: Sequence[str]) -> list[FilePair]:
        return find_pairs(Patterns(source, images), Patterns(source, masks), read_label, reading)

    if isinstance(images, Mapping) and isinstance(masks, Mapping):
        for split in images.keys() ^ masks.keys():
            kinds = ("images", "masks") if split in images else ("masks", "images")
            raise UsageError(f"split '{split}' has {kinds[0]} and no {kinds[1]}; expected both")
        for split in images:
            check_name(split, "split")
        return {split: pairs(images[split], masks[split]) for split in images}
    if isinstance(images, Mapping) or isinstance(masks, Mapping):
        raise UsageError("splits are given for images or masks alone; expected for both or neither")
    return _divided(pairs(images, masks))


def _divided(pairs: list[FilePair]) -> Examples:
    """Returns every fifth of the pairs for evaluation, the others to train on."""
    held_out = pairs[_FIRST_OF_VAL::_EACH_OF_VAL]
    if not held_out:
        raise InputError(
            f"there are {len(pairs)} images, too few to divide into 'train' and 'val'; expected "
            f"{_FIRST_OF_VAL + 1} at least"
        )
    train = [pair for i, pair in enumerate(pairs) if i % _EACH_OF_VAL != _FIRST_OF_VAL]
    return {"train": train, "val": held_out}


def _check_map(label_map: Mapping[int, int], classes: DatasetClasses) -> None:
    for value, index in label_map.items():
        if not 0 <= value <= IGNORE_LABEL:
            raise UsageError(f"--map={value}={index}: {value} is no mask value; expected 0 to 255")
        if index != IGNORE_LABEL and not 0 <= index < classes.num_classes:
            raise InputError(
                f"--map={value}={index}: {index} is no class; expected 0 to "
                f"{classes.num_classes - 1}, or {IGNORE_LABEL} for ignored"
            )
