"""Images of one class each, in files of a folder or in a tar that is read where it lies.

A release has more than a million of them, so that an example holds little, and what many have in
common is one object.
"""

import dataclasses
import os
from collections.abc import Iterable

from etils import epath

from gcnet_jax.config import MAX_IMAGE_PIXELS
from gcnet_jax.data.examples import Examples
from gcnet_jax.data.image_files import displayed, read_displayed
from gcnet_jax.data.tar_index import Member, read_member
from gcnet_jax.errors import InputError
from gcnet_jax.tasks.classification.data.records import LoadedExample

_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
_OF_SYSTEMS = ("thumbs.db", "desktop.ini")  # that file managers leave among images


@dataclasses.dataclass(frozen=True, slots=True)
class ImageInFolder:
    """An example whose image is a file.

    Attributes:
        name: name of the example.
        label: the index of its class.
        folder: in which the file lies.
        file: name of the file.
        max_pixels: most pixels of the image.
    """

    name: str
    label: int
    folder: epath.Path
    file: str
    max_pixels: int = MAX_IMAGE_PIXELS

    def fingerprint(self) -> str:
        """Name, size and time of change of the file, and the class."""
        stat = (self.folder / self.file).stat()
        return f"{self.name} {self.label} {stat.length} {stat.mtime}"

    def load(self) -> LoadedExample:
        """Reads and checks the file.

        Raises:
            InputError: if it cannot be read.
        """
        image = read_displayed(self.folder / self.file, max_pixels=self.max_pixels)
        return LoadedExample(image.encoded, image.pixels, self.label)


@dataclasses.dataclass(frozen=True, slots=True)
class Archive:
    """A tar that examples are read from.

    Attributes:
        path: of the file.
        stamp: its size and time of change.
    """

    path: epath.Path
    stamp: str

    @classmethod
    def at(cls, path: epath.Path) -> "Archive":
        """Returns the archive as it is now."""
        stat = path.stat()
        return cls(path, f"{stat.length} {stat.mtime}")


@dataclasses.dataclass(frozen=True, slots=True)
class ImageInArchive:
    """An example whose image is in a tar.

    Attributes:
        name: name of the example.
        label: the index of its class.
        archive: the tar.
        member: where it lies in it.
        max_pixels: most pixels of the image.
    """

    name: str
    label: int
    archive: Archive
    member: Member
    max_pixels: int = MAX_IMAGE_PIXELS

    def fingerprint(self) -> str:
        """Name and place of the image, and size and time of change of the archive."""
        return f"{self.name} {self.label} {self.member.offset} {self.archive.stamp}"

    def load(self) -> LoadedExample:
        """Reads and checks the image.

        Raises:
            InputError: if it cannot be read.
        """
        encoded = read_member(self.archive.path, self.member)
        what = f"{self.member.name} in {self.archive.path}"
        image = displayed(encoded, what, max_pixels=self.max_pixels)
        return LoadedExample(image.encoded, image.pixels, self.label)


def with_max_pixels(examples: Examples, max_pixels: int) -> Examples:
    """Returns the examples, of which those that are stored are read up to another size."""
    if max_pixels == MAX_IMAGE_PIXELS:
        return examples
    return {
        split: [
            dataclasses.replace(example, max_pixels=max_pixels)
            if isinstance(example, ImageInFolder | ImageInArchive)
            else example
            for example in of_split
        ]
        for split, of_split in examples.items()
    }


def is_image(name: str) -> bool:
    """Returns whether a file's name is one of an image."""
    return name.lower().endswith(_SUFFIXES)


def is_hidden(name: str) -> bool:
    """Returns whether nobody has put a file of that name there, but a system has."""
    return name.startswith(".") or name.lower() in _OF_SYSTEMS


def listed(folder: epath.Path) -> tuple[list[str], list[str], list[str]]:
    """Returns the names of what a folder holds, sorted: folders, images, and other files.

    Hidden files are none of them.

    Raises:
        InputError: if it is no folder, or holds what is no file, such as a broken link.
    """
    folders, images, others = [], [], []
    try:
        with os.scandir(folder) as entries:  # a path's own way asks the disk about each file
            for entry in entries:
                if is_hidden(entry.name):
                    continue
                if entry.is_dir():
                    folders.append(entry.name)
                elif not entry.is_file():
                    raise InputError(
                        f"{folder / entry.name} is no regular file, or a link to nothing; remove it"
                    )
                else:
                    (images if is_image(entry.name) else others).append(entry.name)
    except OSError as error:
        raise InputError(f"{folder} cannot be listed ({error.strerror or error})") from error
    return sorted(folders), sorted(images), sorted(others)


def in_utf8(name: str) -> str:
    """Returns a file's name as it can be stored: on disks names are bytes, of any encoding."""
    return os.fsencode(name).decode(errors="backslashreplace")


def some_of(names: Iterable[str], most: int = 3) -> str:
    """Returns the first of some names, and how many more there are, for a message."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f"'{in_utf8(name)}'" for name in names[:most]) + more
