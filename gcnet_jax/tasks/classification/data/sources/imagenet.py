"""ImageNet as its 1000 classes of ILSVRC2012, from the official archives or what they hold.

Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", IJCV 2015. The classes are
in the order of their WordNet ids, as nearly everybody has them; the challenge itself counts them
otherwise (ILSVRC2012_ID), and so does the ground truth of the validation images.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import PurePosixPath

import scipy.io
from etils import epath

from gcnet_jax.data.examples import Example, Examples, OfficialSet, Part
from gcnet_jax.data.tar_index import Member, members
from gcnet_jax.errors import InputError
from gcnet_jax.files import open_regular, read_regular
from gcnet_jax.tasks.classification.data.classes import WORDNET_IDS
from gcnet_jax.tasks.classification.data.sources.stored_images import (
    Archive,
    ImageInArchive,
    ImageInFolder,
    in_utf8,
    is_image,
    listed,
    some_of,
)

TRAIN_ARCHIVE = "ILSVRC2012_img_train.tar"
VAL_ARCHIVE = "ILSVRC2012_img_val.tar"
DEVKIT = "ILSVRC2012_devkit_t12"
GROUND_TRUTH = "data/ILSVRC2012_validation_ground_truth.txt"
META = "data/meta.mat"

_INDEX = {wordnet_id: index for index, wordnet_id in enumerate(WORDNET_IDS)}
_VAL_NAME = re.compile(r"ILSVRC2012_val_([0-9]{8})\.JPEG")


def find_examples(roots: Sequence[epath.Path], splits: Collection[str]) -> Examples:
    """Finds the images of some splits.

    Args:
        roots: where the images of each of the splits are, and for `val` where the devkit is.
        splits: of `train` and `val`.

    Raises:
        InputError: if a folder, a file or a name is not one of the release.
    """
    examples: dict[str, Sequence[Example]] = {}
    if "train" in splits:
        examples["train"] = _training_images(roots[0])
    if "val" in splits:
        examples["val"] = _validation_images(*roots[-2:])
    return examples


# Training images ----------------------------------------------------------------------------------


def _training_images(root: epath.Path) -> list[Example]:
    folder = root / "train"
    if not folder.is_dir():
        archive = Archive.at(root / TRAIN_ARCHIVE)
        return [
            image
            for of_class in sorted(members(archive.path))
            for image in _of_class(archive, of_class.name, archive.path, of_class)
        ]
    folders, images, others = listed(folder)
    if others and not (folders or images):  # the archives of the classes, as the outer one has them
        return [
            image for name in others for image in _of_class(Archive.at(folder / name), name, folder)
        ]
    return _in_class_folders(folder)


def _of_class(
    archive: Archive, name: str, where: epath.Path, within: Member | None = None
) -> Iterator[Example]:
    """Yields the images of a class, of which `name` is the archive's; `where` is for a message."""
    path = PurePosixPath(name)
    label = _INDEX.get(path.stem)
    if label is None or path.suffix != ".tar":
        raise InputError(
            f"{where} holds {name!r}; expected the archives of the 1000 classes, such as "
            f"{WORDNET_IDS[0]}.tar"
        )
    for image, member in _images_in(archive.path, within):
        yield ImageInArchive(image, label, archive, member)


def _in_class_folders(folder: epath.Path) -> list[Example]:
    """Returns the images in folders that are named by WordNet ids."""
    names, images, others = listed(folder)
    strange = [*(name for name in names if name not in _INDEX), *images, *others]
    if strange or not names:
        raise InputError(
            f"{folder} holds {some_of(strange) or 'nothing'}; expected folders of the 1000 classes "
            f"alone, such as {WORDNET_IDS[0]}; other classes are prepared as class_folders"
        )
    found: list[Example] = []
    for name in names:
        of_class = folder / name
        folders, images, others = listed(of_class)
        if folders or others:
            raise InputError(
                f"{of_class} holds {some_of([*folders, *others])}; expected images alone"
            )
        found += [_image_in(of_class, image, _INDEX[name]) for image in images]
    return found


def _image_in(folder: epath.Path, file: str, label: int) -> ImageInFolder:
    return ImageInFolder(in_utf8(PurePosixPath(file).stem), label, folder, file)


def _images_in(archive: epath.Path, within: Member | None = None) -> Iterator[tuple[str, Member]]:
    """Yields the images of a tar in the order of their names, with what to call them."""
    for member in sorted(members(archive, within)):
        path = PurePosixPath(member.name)
        if not is_image(path.name):
            raise InputError(f"{archive} holds {member.name!r}; expected images alone")
        yield in_utf8(path.stem), member


# Validation images --------------------------------------------------------------------------------


def _validation_images(root: epath.Path, devkit_root: epath.Path) -> list[Example]:
    folder = root / "val"
    if folder.is_dir():
        folders, images, others = listed(folder)
        if folders and not (images or others):
            return sorted(_in_class_folders(folder), key=lambda example: example.name)
        if folders or others:
            raise InputError(
                f"{folder} holds {some_of([*folders, *others])} beside images; expected either "
                "folders of the 1000 classes or images such as ILSVRC2012_val_00000001.JPEG"
            )
        labels = _Labels(devkit_root / DEVKIT)
        return [_image_in(folder, image, labels.of(image, folder)) for image in images]
    archive = Archive.at(root / VAL_ARCHIVE)
    labels = _Labels(devkit_root / DEVKIT)
    return [
        ImageInArchive(
            name, labels.of(PurePosixPath(member.name).name, archive.path), archive, member
        )
        for name, member in _images_in(archive.path)
    ]


class _Labels:
    """The class of each validation image, by the number in its name."""

    def __init__(self, devkit: epath.Path):
        if not devkit.is_dir():
            raise InputError(
                f"the classes of validation images are not there: expected {devkit}/ or its "
                f"archive {DEVKIT}.tar.gz, or the images in folders of their classes"
            )
        self._truth = devkit / GROUND_TRUTH
        self._labels = _in_our_order(_numbers(self._truth), read_meta(devkit / META), self._truth)

    def of(self, image: str, where: epath.Path) -> int:
        """Returns the class index of an image; `where` is for a message."""
        matched = _VAL_NAME.fullmatch(image)
        number = int(matched[1]) if matched else 0
        if not 1 <= number <= len(self._labels):
            raise InputError(
                f"{where} holds {image!r}; expected ILSVRC2012_val_00000001.JPEG and so on to "
                f"{len(self._labels):08d}, for which {self._truth} has a line each"
            )
        return self._labels[number - 1]


def _numbers(path: epath.Path) -> list[int]:
    """Returns the class of each validation image as the challenge counts them."""
    try:
        return [int(line) for line in read_regular(path).decode("ascii").split()]
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing; expected a class number for each image") from error
    except ValueError as error:
        raise InputError(f"{path} holds something else than a number a line ({error})") from error


def _in_our_order(numbers: list[int], ids: dict[int, str], path: epath.Path) -> list[int]:
    unknown = {number for number in numbers if number not in ids}
    if unknown:
        raise InputError(
            f"{path} has class {min(unknown)}; expected one of the ILSVRC2012_ID of {META}"
        )
    return [_INDEX[ids[number]] for number in numbers]


def read_meta(path: epath.Path) -> dict[int, str]:
    """Reads which WordNet id each number of the challenge stands for.

    Args:
        path: of the devkit's `meta.mat`, which also lists groups of classes: those have children.

    Raises:
        InputError: if the file is not such a file, or one of its classes is not one of ILSVRC2012.
    """
    try:
        with open_regular(path) as file:
            synsets = scipy.io.loadmat(file, squeeze_me=True)["synsets"]
        columns = (synsets[key] for key in ("ILSVRC2012_ID", "WNID", "num_children"))
        ids = {int(n): str(id) for n, id, children in zip(*columns, strict=True) if not children}
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing; expected the classes of the challenge") from error
    except Exception as error:  # SciPy raises ValueError, KeyError, TypeError, zlib.error and more
        raise InputError(
            f"{path}: not the meta.mat of the devkit, a whole MATLAB file with synsets of "
            f"ILSVRC2012_ID, WNID and num_children ({error!r})"
        ) from error
    if unknown := [wordnet_id for wordnet_id in ids.values() if wordnet_id not in _INDEX]:
        raise InputError(f"{path} has {some_of(unknown)}, which is no class of ILSVRC2012")
    return ids


IMAGENET = OfficialSet(
    name="imagenet",
    description="ImageNet with the 1000 classes of ILSVRC2012.",
    find_examples=find_examples,
    splits=("train", "val"),
    parts=(
        Part(("train",), TRAIN_ARCHIVE, splits=("train",), in_place=True),
        Part(("val",), VAL_ARCHIVE, splits=("val",), in_place=True),
        # Of no use to images in folders of their classes.
        Part((DEVKIT,), f"{DEVKIT}.tar.gz", splits=("val",), optional=True),
    ),
    counts={"train": 1_281_167, "val": 50_000},
)
