"""How data sets of images and labels are stored.

Pixels are stored in one of two ways. `as_found` keeps the bytes of the image file and makes the
label a PNG: small, but decoding 1024x2048 pixels of PNG takes tens of milliseconds. With
`uncompressed` both are binary PPM and PGM, which need no decoding.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from jaxtyping import UInt8

from gcnet_jax.config import PIXELS, Pixels
from gcnet_jax.data import Example, StoredExample, encode_plain, encode_png
from gcnet_jax.errors import InputError
from gcnet_jax.tasks.segmentation.data.catalog import DatasetClasses
from gcnet_jax.tasks.segmentation.data.label_counts import LabelCounts
from gcnet_jax.tasks.segmentation.data.records import Record, decode
from gcnet_jax.tasks.segmentation.data.sample_picture import save_samples

_WRITER_OPTIONS: Mapping[Pixels, str] = MappingProxyType(
    # Plain pixels must not be compressed by array_record either: to undo that takes longer than
    # to read the bytes it saves.
    {"as_found": "group_size:1", "uncompressed": "group_size:1,uncompressed"}
)


@dataclasses.dataclass(frozen=True)
class LabelledImages:
    """How a data set of images and labels is stored: a `gcnet_jax.data.RecordFormat`.

    Attributes:
        pixels: how images and labels are stored.
        classes: the classes of the labels.
    """

    FEATURES: ClassVar[tfds.features.FeaturesDict] = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
            "name": tfds.features.Text(),
            "size": tfds.features.Tensor(shape=(2,), dtype=np.int32),
        }
    )

    pixels: Pixels
    classes: DatasetClasses

    @property
    def writer_options(self) -> str:
        """Options of array_record's writer."""
        return _WRITER_OPTIONS[self.pixels]

    @property
    def meaning(self) -> DatasetClasses:
        """The classes."""
        return self.classes

    def check_split(self, counts: LabelCounts | None, name: str, split: str) -> None:
        """Refuses a split whose labels mean nothing, whether trained on or compared with.

        Args:
            counts: of the split; None if the set was prepared without.
            name: of the data set.
            split: of it.

        Raises:
            InputError: if there is one class only, which every pixel would be given, or no pixel
                has one, as in the test split of Cityscapes.
        """
        if self.classes.num_classes < 2:
            raise InputError(
                f"data set '{name}' has the one class {', '.join(self.classes.names)!r}, and what "
                "is the same everywhere cannot be learnt; prepare it with a class for the rest "
                "too, such as 'background'"
            )
        if counts is not None and not counts.is_labelled:
            raise InputError(
                f"no pixel of split '{split}' of '{name}' has a label: there is nothing to learn "
                "from it or to compare with, as in the test split of Cityscapes"
            )

    def to_plain(self) -> dict[str, Any]:
        """Returns JSON that describes the set."""
        return {"pixels": self.pixels, "classes": self.classes.to_plain()}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "LabelledImages":
        """Returns the format that a table of contents describes.

        Raises:
            KeyError, TypeError or ValueError: if it describes something else.
        """
        if plain["pixels"] not in PIXELS:
            raise ValueError(f"pixels are {plain['pixels']!r}; expected one of {PIXELS}")
        return cls(plain["pixels"], DatasetClasses.from_plain(plain["classes"]))

    def store(self, example: Example) -> StoredExample[LabelCounts]:
        """Loads an example and returns it as it is stored."""
        encoded, image, label = example.load()
        height, width = label.shape
        return StoredExample(
            serialize(example.name, encoded, image, label, self.pixels),
            (height, width),
            LabelCounts.of_label(label, self.classes.num_classes),
        )

    def no_counts(self) -> LabelCounts:
        """Returns the counts of no label."""
        return LabelCounts.nothing(self.classes.num_classes)

    def counts_from_plain(self, plain: Any) -> LabelCounts:
        """Returns the counts that JSON holds; raises as `LabelCounts.from_plain`."""
        return LabelCounts.from_plain(plain, self.classes.num_classes)

    def summary(self, counts: Mapping[str, LabelCounts]) -> dict[str, Any]:
        """Returns the counts of each split by the names of the classes."""
        names = self.classes.names
        return {"labels": {split: of_split.by_name(names) for split, of_split in counts.items()}}

    def save_samples(self, path: epath.Path, samples: Iterable[tuple[str, Record]]) -> None:
        """Writes a PNG of some images, their labels in colours, and one over the other."""
        save_samples(path, ((name, decode(record)) for name, record in samples), self.classes)


def serialize(
    name: str,
    encoded: bytes,
    image: UInt8[np.ndarray, "h w 3"],
    label: UInt8[np.ndarray, "h w"],
    pixels: Pixels,
) -> bytes:
    """Returns what a record file holds for one example.

    Args:
        name: the example's name.
        encoded: the bytes of its image file.
        image: the pixels of that file.
        label: the class index of each pixel.
        pixels: how to store image and label.
    """
    as_found = pixels == "as_found"
    # Bytes rather than arrays are also what keeps TensorFlow out: TFDS encodes arrays with it.
    return LabelledImages.FEATURES.serialize_example(
        {
            "image": encoded if as_found else encode_plain(image),
            "label": encode_png(label) if as_found else encode_plain(label),
            "name": name,
            "size": np.array(label.shape, np.int32),
        }
    )
