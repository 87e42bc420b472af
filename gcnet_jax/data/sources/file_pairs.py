"""Image files and label files that belong together because their patterns say so.

A pattern is a path with ``*`` for any part of a file or folder name, such as ``scans/*/*_rgb.jpg``.
An image belongs to the label for which the stars matched the same text: ``scans/a/7_rgb.jpg``
meets ``masks/a/7_label.png`` by ``masks/*/*_label.png``. A star at the end matches the suffix too,
which is then no part of that text: by ``scans/*`` and ``masks/*`` ``scans/7.jpg`` meets
``masks/7.png``.
"""

import dataclasses
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from etils import epath
from jaxtyping import UInt8

from gcnet_jax.config import MAX_IMAGE_PIXELS, Orientation
from gcnet_jax.data.image_files import read_displayed
from gcnet_jax.data.sources.examples import Examples, LoadedExample
from gcnet_jax.data.sources.orientation import as_displayed
from gcnet_jax.errors import InputError

LabelReader = Callable[[epath.Path, int], UInt8[np.ndarray, "h w"]]
"""Turns a label file of at most so many pixels into class indices."""


@dataclasses.dataclass(frozen=True)
class FilePair:
    """An example whose image and label are files.

    Attributes:
        name: name of the example.
        image: the image file.
        label: the label file.
        read_label: turns that file into class indices.
        reading: what a user has chosen of how to read it, in words; another text is another label.
        made_on: which way round the label is, where its size and the image's EXIF leave that open.
        max_pixels: most pixels of either file.
    """

    name: str
    image: epath.Path
    label: epath.Path
    read_label: LabelReader
    reading: str = ""
    made_on: Orientation | None = None
    max_pixels: int = MAX_IMAGE_PIXELS

    def fingerprint(self) -> str:
        """Names, sizes and times of change of both files, and how they are read."""
        stats = [(file, file.stat()) for file in (self.image, self.label)]
        texts = [f"{file.name} {stat.length} {stat.mtime}" for file, stat in stats]
        return " ".join([self.name, *texts, *filter(None, (self.reading, self.made_on))])

    def load(self) -> LoadedExample:
        """Reads and checks both files, and turns both as the image is displayed.

        Raises:
            InputError: if either cannot be read, holds what it must not, or their sizes differ.
        """
        image = read_displayed(self.image, max_pixels=self.max_pixels)
        height, width, _ = image.pixels.shape
        label = as_displayed(
            self.read_label(self.label, self.max_pixels),
            self.label,
            (height, width),
            self.image,
            image.orientation,
            self.made_on,
        )
        return LoadedExample(image.encoded, image.pixels, label)


def with_settings(examples: Examples, *, made_on: Orientation | None, max_pixels: int) -> Examples:
    """Returns the examples, of which those that are files are read with other settings."""
    return {
        split: [
            dataclasses.replace(example, made_on=made_on, max_pixels=max_pixels)
            if isinstance(example, FilePair)
            else example
            for example in of_split
        ]
        for split, of_split in examples.items()
    }


@dataclasses.dataclass(frozen=True)
class Patterns:
    """Patterns for the files of one kind, below one folder."""

    root: epath.Path
    patterns: Sequence[str]

    def __str__(self) -> str:
        return " or ".join(f"{self.root}/{pattern}" for pattern in self.patterns)

    def find(self) -> dict[tuple[str, ...], epath.Path]:
        """Returns the files by the texts that the stars matched, in the order of their paths.

        Raises:
            InputError: if a folder that the patterns name is missing, or two files have the same
              texts.
        """
        matches = [
            (path, texts) for pattern in self.patterns for texts, path in _match(self.root, pattern)
        ]
        files: dict[tuple[str, ...], epath.Path] = {}
        for path, texts in sorted(matches, key=lambda match: str(match[0])):
            if texts in files:
                raise InputError(
                    f"{files[texts]} and {path.name} share a name; expected one file for every name"
                )
            files[texts] = path
        return files

    def example(self, texts: tuple[str, ...]) -> str:
        """The path that the first pattern has for these texts."""
        remaining = iter(texts)
        path = re.sub(r"\*", lambda _: next(remaining), self.patterns[0], count=len(texts))
        return f"{self.root}/{path}" + (".*" if self.patterns[0].endswith("*") else "")


def find_pairs(
    images: Patterns, labels: Patterns, read_label: LabelReader, reading: str = ""
) -> list[FilePair]:
    """Pairs image files with label files.

    Args:
        images: where the images are.
        labels: where the labels are.
        read_label: turns a label file into class indices.
        reading: what a user has chosen of how to read it.

    Returns:
        The pairs in the order of the images' paths. A pair is named by the image's file name
        without suffix, or where these are not unique, by all that the stars matched; what is not
        UTF-8 in it is written as ``\\xff``.

    Raises:
        InputError: if patterns differ in their number of stars, a folder is missing, no image is
          found, a name is there twice, or an image or a label has no partner.
    """
    stars = {pattern.count("*") for pattern in (*images.patterns, *labels.patterns)}
    if len(stars) > 1:
        raise InputError(
            f"{images} and {labels} differ in their number of stars; an image belongs to the label "
            "for which the stars match the same text"
        )
    found, partners = images.find(), labels.find()
    if not found:
        raise InputError(f"there are no images: no file matches {images}")
    for texts in sorted(found.keys() ^ partners.keys()):
        if texts in found:
            raise InputError(f"{found[texts]} has no label; expected {labels.example(texts)}")
        raise InputError(f"{partners[texts]} has no image; expected {images.example(texts)}")
    return [
        FilePair(name, path, partners[texts], read_label, reading)
        for name, (texts, path) in zip(_names(found), found.items(), strict=True)
    ]


def _match(folder: epath.Path, pattern: str) -> Iterator[tuple[tuple[str, ...], epath.Path]]:
    """Finds what matches a pattern below a folder, with the texts that its stars matched."""
    first, _, rest = pattern.partition("/")
    if "*" not in first:
        if rest:
            if not (folder / first).is_dir():
                raise InputError(f"{folder / first} is missing; expected files {rest} in it")
            yield from _match(folder / first, rest)
        elif (folder / first).exists():
            yield (), folder / first
        return
    # Everything but the stars stands for itself, unlike in shells.
    regex = re.compile("(.*)".join(map(re.escape, first.split("*"))), re.DOTALL)
    for path in folder.iterdir():
        matched = regex.fullmatch(path.name)
        if matched is None or path.name.startswith("."):
            continue
        if not rest:
            *texts, last = matched.groups()
            yield (*texts, Path(last).stem if first.endswith("*") else last), path
        elif path.is_dir():
            for texts, file in _match(path, rest):
                yield matched.groups() + texts, file


def _names(files: dict[tuple[str, ...], epath.Path]) -> list[str]:
    stems = [_in_utf8(path.stem) for path in files.values()]
    if len(set(stems)) == len(stems):
        return stems
    names = [_in_utf8("_".join(texts)) for texts in files]
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise InputError(f"{count} images would both be called '{name}'; rename one of the files")
    return names


def _in_utf8(name: str) -> str:
    """A file's name as it can be stored: on disks they are bytes, of whatever encoding."""
    return os.fsencode(name).decode(errors="backslashreplace")
