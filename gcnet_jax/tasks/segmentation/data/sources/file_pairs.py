"""Image files and label files that belong together because their patterns say so.

An image belongs to the label for which the stars of the patterns matched the same text: by
`scans/*/*_rgb.jpg` and `masks/*/*_label.png`, `scans/a/7_rgb.jpg` meets `masks/a/7_label.png`.
Stars at the end match suffixes too: by `scans/*` and `masks/*`, `scans/7.jpg` meets `masks/7.png`.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from etils import epath
from jaxtyping import UInt8

from gcnet_jax.config import MAX_IMAGE_PIXELS, Orientation
from gcnet_jax.data.examples import Examples
from gcnet_jax.data.image_files import read_displayed
from gcnet_jax.data.patterns import Patterns, names_of
from gcnet_jax.errors import InputError
from gcnet_jax.tasks.segmentation.data.records import LoadedExample
from gcnet_jax.tasks.segmentation.data.sources.mask_orientation import as_displayed

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
        UTF-8 in it is written as `\\xff`.

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
        for name, (texts, path) in zip(names_of(found), found.items(), strict=True)
    ]
