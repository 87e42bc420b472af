"""A user's own images in folders that are named by their classes.

Either splits come first, `train/roses/1.jpg` with `val/roses/2.jpg` or `test/roses/2.jpg`, or there
are none, `roses/1.jpg`, and of every five images of a class one is held out as the split `val`.
"""

from typing import NamedTuple

from etils import epath

from gcnet_jax.data.examples import Examples
from gcnet_jax.errors import InputError, printable
from gcnet_jax.tasks.classification.data.classes import ImageClasses
from gcnet_jax.tasks.classification.data.sources.stored_images import (
    ImageInFolder,
    in_utf8,
    listed,
    some_of,
)

_SPLITS = ("train", "val", "test")
_EACH_OF_VAL, _FIRST_OF_VAL = 5, 2

_Images = dict[str, list[ImageInFolder]]


class ClassFolders(NamedTuple):
    """What has been found in a tree of class folders.

    Attributes:
        classes: the names of the folders, sorted.
        examples: of each split, by class and name.
        left_out: files that are no images.
    """

    classes: ImageClasses
    examples: Examples
    left_out: list[str]


def find_class_folders(source: epath.Path) -> ClassFolders:
    """Finds the images of a tree of class folders.

    Args:
        source: the folder that holds those of the splits, or of the classes.

    Raises:
        InputError: if there are fewer than two classes, a class without an image, a class that is
            not trained on, images that belong to no class, or folders of which it is not clear what
            they are; the message names one.
    """
    folders, images, others = listed(source)
    if images:
        raise InputError(
            f"{source} holds images that belong to no class, {some_of(images)}; expected a folder "
            "for each class"
        )
    left_out = list(others)
    # A class may be called "train" as well: then there are images in that folder.
    if "train" not in folders or not listed(source / "train")[0]:
        classes = _checked_classes(source, folders)
        return ClassFolders(
            classes, _divided(source, _found(source, "", folders, folders, left_out)), left_out
        )
    _check_splits(source, folders)
    names: list[str] = []
    examples: dict[str, list[ImageInFolder]] = {}
    for split in (split for split in _SPLITS if split in folders):
        of_split, images, others = listed(source / split)
        left_out += [f"{split}/{name}" for name in others]
        if images:
            raise InputError(
                f"{source / split} holds images that belong to no class, {some_of(images)}; "
                "expected a folder for each class"
            )
        names = names or of_split
        if unknown := [name for name in of_split if name not in names]:
            raise InputError(
                f"{source / split} has folders of classes that {source / 'train'} has not, "
                f"{some_of(unknown)}; nothing can be learnt about them"
            )
        found = _found(source / split, f"{split}/", names, of_split, left_out)
        examples[split] = [example for of_class in found.values() for example in of_class]
        if not examples[split]:
            raise InputError(f"{source / split} holds no image")
        if split == "train" and (empty := [name for name in names if not found[name]]):
            raise InputError(
                f"{source / split} has folders of classes without an image, {some_of(empty)}"
            )
    return ClassFolders(_checked_classes(source / "train", names), examples, left_out)


def _check_splits(source: epath.Path, folders: list[str]) -> None:
    if unknown := [name for name in folders if name not in _SPLITS]:
        raise InputError(
            f"{source} holds train/ and {some_of(unknown)}; expected train/ with val/ or test/, "
            "or a folder for each class with images in it"
        )
    if folders == ["train"]:
        raise InputError(
            f"{source} holds train/ alone; expected val/ or test/ beside it, or {source / 'train'} "
            "as the source, of which every fifth image is held out"
        )


def _checked_classes(folder: epath.Path, names: list[str]) -> ImageClasses:
    if len(names) < 2:
        raise InputError(
            f"{folder} holds {len(names)} folders; expected one for each class, two at least"
        )
    shown = [in_utf8(name) for name in names]
    for name in shown:
        if printable(name) != name:
            raise InputError(
                f"the folder '{name}' in {folder} has characters in its name that cannot be shown; "
                "rename it"
            )
    return ImageClasses(tuple(shown))


def _found(
    folder: epath.Path, prefix: str, names: list[str], there: list[str], left_out: list[str]
) -> _Images:
    """Returns the images of each class below a folder, and notes what is no image."""
    found: _Images = {}
    for label, name in enumerate(names):
        found[name] = []
        if name not in there:
            continue
        folders, images, others = listed(folder / name)
        if folders:
            raise InputError(
                f"{folder / name} holds folders, {some_of(folders)}; expected the images of one "
                "class, and nothing deeper"
            )
        left_out += [f"{prefix}{name}/{other}" for other in others]
        in_class = folder / name
        found[name] = [
            ImageInFolder(in_utf8(f"{name}/{image}"), label, in_class, image) for image in images
        ]
    return found


def _divided(source: epath.Path, found: _Images) -> Examples:
    """Returns every fifth image of each class for evaluation, the others to train on."""
    train: list[ImageInFolder] = []
    val: list[ImageInFolder] = []
    for name, images in found.items():
        if not images:
            raise InputError(f"{source / name} holds no image; expected those of a class")
        for number, image in enumerate(images):
            (val if number % _EACH_OF_VAL == _FIRST_OF_VAL else train).append(image)
    if not val:
        raise InputError(
            f"no class in {source} has the {_FIRST_OF_VAL + 1} images of which one is held out "
            "for evaluation; add images, or divide them into train/ and val/"
        )
    return {"train": train, "val": val}
