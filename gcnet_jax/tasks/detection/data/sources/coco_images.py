"""Images of a json in COCO's format, checked against the image files."""

import dataclasses
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import Any

from etils import epath

from gcnet_jax.config import Orientation
from gcnet_jax.data.image_files import read_header
from gcnet_jax.tasks.detection.classes import ObjectClasses
from gcnet_jax.tasks.detection.data.sources.coco_categories import checked_classes
from gcnet_jax.tasks.detection.data.sources.faults import Faults
from gcnet_jax.tasks.detection.data.sources.json_elements import read_elements
from gcnet_jax.tasks.detection.data.sources.numbers import is_id, shown

_THREADS = 16


@dataclasses.dataclass(frozen=True, slots=True)
class FoundImage:
    """An image of a json whose file is there.

    Attributes:
        name: of the file below the folder of images.
        image_id: what the json calls it.
        annotated_size: (height, width) that the json says, which annotations refer to.
        size: (height, width) as displayed.
        orientation: by which annotations have to be turned; 1 where they have not.
    """

    name: str
    image_id: int
    annotated_size: tuple[int, int]
    size: tuple[int, int]
    orientation: int


@dataclasses.dataclass(frozen=True)
class Described:
    """What a json says besides annotations.

    Attributes:
        classes: its categories, in its order.
        images: those that can be used, in its order.
        known: the ids of all of them, also of those that are at fault.
        wanting: how many files are not there, where that is allowed.
    """

    classes: ObjectClasses
    images: list[FoundImage]
    known: set[int]
    wanting: int


def read_images(
    path: epath.Path,
    folder: epath.Path,
    faults: Faults,
    *,
    max_pixels: int,
    orientation: Orientation | None,
    may_lack: bool = False,
    advance: Callable[[int], None] = lambda characters: None,
) -> Described:
    """Reads the images and categories of a json, and looks for the image files.

    Args:
        path: of the json.
        folder: of the images.
        faults: where to note what is wrong.
        max_pixels: most pixels of an image.
        orientation: whether annotations were made on images as they are displayed or as they are
            stored, where sizes fit both; None where nobody has said.
        may_lack: whether files of some images may be missing, which are passed over then.
        advance: called with the number of characters that have been read since.

    Raises:
        InputError: the file is no JSON object with images, annotations and categories.
    """
    categories: list[Any] = []
    entries = _Entries(path, faults)
    handlers = {
        "images": entries.add,
        "categories": categories.append,
        "annotations": lambda annotation: None,
    }
    read_elements(path, handlers, advance)
    classes = checked_classes(path, categories, faults)
    if not entries.images:
        faults.add(path, "no images", "images: there are none, expected one at least")
    files = _Files(path, folder, faults, max_pixels, orientation, may_lack)
    images = files.find(entries.images)
    return Described(classes, images, entries.known, files.wanting)


@dataclasses.dataclass(frozen=True, slots=True)
class _Entry:
    """What a json says of an image."""

    name: str
    image_id: int
    size: tuple[int, int]


class _Entries:
    """The entries of images, checked one by one."""

    def __init__(self, path: epath.Path, faults: Faults):
        self.images: list[_Entry] = []
        self.known: set[int] = set()
        self._names: set[str] = set()
        self._path = path
        self._faults = faults
        self._position = -1

    def add(self, image: Any) -> None:
        self._position += 1
        where = f"image at position {self._position}"
        if not isinstance(image, dict):
            self._fault("images that are none", f"{where}: is {shown(image)}, expected an object")
            return
        image_id = image.get("id")
        if not is_id(image_id):
            self._fault(
                "ids that are none", f"{where}: id {shown(image_id)}, expected a whole number"
            )
            return
        where = f"image {image_id}"
        if image_id in self.known:
            self._fault("duplicate images", f"{where}: its id is there twice, expected once")
            return
        self.known.add(image_id)
        name = self._checked_name(where, image.get("file_name"))
        height, width = image.get("height"), image.get("width")
        if type(height) is not int or type(width) is not int or min(height, width) < 1:
            self._fault(
                "sizes that are none",
                f"{where}: height {shown(height)} and width {shown(width)}, expected whole numbers "
                "of pixels",
            )
        elif name is not None:
            self.images.append(_Entry(name, image_id, (height, width)))

    def _checked_name(self, where: str, name: Any) -> str | None:
        if not isinstance(name, str) or not _is_below(name):
            self._fault(
                "names of files that are none",
                f"{where}: file_name {shown(name)}, expected the path of a file below the folder "
                "of images, without '..'",
            )
            return None
        if name in self._names:
            self._fault(
                "duplicate images", f"{where}: its file {shown(name)} is that of another image too"
            )
            return None
        self._names.add(name)
        return name

    def _fault(self, kind: str, what: str) -> None:
        self._faults.add(self._path, kind, what)


def _is_below(name: str) -> bool:
    """Returns whether a file's name leads nowhere but below the folder that it is joined to."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    path = PurePosixPath(name)
    parts = path.parts
    return bool(parts) and not path.is_absolute() and ".." not in parts and "\0" not in name


class _Files:
    """The image files, of which only headers are read."""

    def __init__(
        self,
        path: epath.Path,
        folder: epath.Path,
        faults: Faults,
        max_pixels: int,
        orientation: Orientation | None,
        may_lack: bool,
    ):
        self.wanting = 0
        self._path = path
        self._folder = folder
        self._faults = faults
        self._max_pixels = max_pixels
        self._orientation = orientation
        self._may_lack = may_lack

    def find(self, entries: list[_Entry]) -> list[FoundImage]:
        folder = os.fspath(self._folder)
        with ThreadPoolExecutor(_THREADS) as threads:
            paths = (f"{folder}/{entry.name}" for entry in entries)
            headers = threads.map(read_header, paths, chunksize=64)
            found = map(self._checked, entries, headers)
            return [image for image in found if image is not None]

    def _checked(self, entry: _Entry, header: Any) -> FoundImage | None:
        where, file = f"image {entry.image_id}", self._folder / entry.name
        if header is None:
            self._unreadable(where, file)
            return None
        size, turn = header.size, header.orientation
        stored = size[::-1] if turn >= 5 else size
        if size[0] * size[1] > self._max_pixels:
            self._fault(
                "images that are too large",
                f"{where}: {file} has {size[0] * size[1]:,} pixels, expected at most "
                f"{self._max_pixels:,}; raise max_image_pixels, an option of prepare_dataset",
            )
            return None
        if entry.size not in (size, stored):
            expected = f"expected {_text(size)}, the size of {file}"
            if turn != 1:
                expected += f" as it is displayed (its EXIF orientation is {turn})"
            self._fault(
                "images of another size",
                f"{where}: height and width are {_text(entry.size)}, {expected}",
            )
            return None
        on_stored = entry.size != size
        if turn != 1 and size == stored:
            if self._orientation is None:
                self._fault(
                    "images that can be meant in two ways",
                    f"{where}: {file} has the EXIF orientation {turn}, and its size fits as it is "
                    "displayed and as it is stored; say what annotations were made on: "
                    "--orientation=displayed or --orientation=stored",
                )
                return None
            on_stored = self._orientation == "stored"
        return FoundImage(entry.name, entry.image_id, entry.size, size, turn if on_stored else 1)

    def _unreadable(self, where: str, file: epath.Path) -> None:
        if file.exists():
            self._fault("files that are no images", f"{where}: {file} is no image that can be read")
        elif self._may_lack:
            self.wanting += 1
        else:
            self._fault("missing images", f"{where}: there is no file {file}")

    def _fault(self, kind: str, what: str) -> None:
        self._faults.add(self._path, kind, what)


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
