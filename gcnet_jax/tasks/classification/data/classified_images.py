"""How data sets of images with one class each are stored.

Images are stored in one of two ways. `as_found` keeps the bytes of the image file. `uncompressed`
makes it a binary PPM, which needs no decoding and takes several times the room.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from gcnet_jax.config import PIXELS, Pixels
from gcnet_jax.data import Example, StoredExample, encode_plain
from gcnet_jax.errors import InputError
from gcnet_jax.tasks.classification.data.class_counts import ClassCounts
from gcnet_jax.tasks.classification.data.classes import ImageClasses
from gcnet_jax.tasks.classification.data.records import Record, decode
from gcnet_jax.tasks.classification.data.sample_picture import save_samples

_WRITER_OPTIONS: Mapping[Pixels, str] = MappingProxyType(
    # Neither JPEGs nor plain pixels gain by array_record's compression: the ones become hardly
    # smaller, and to undo that of the others takes longer than to read the bytes it saves.
    {"as_found": "group_size:1", "uncompressed": "group_size:1,uncompressed"}
)


@dataclasses.dataclass(frozen=True)
class ClassifiedImages:
    """How a data set of classified images is stored: a `gcnet_jax.data.RecordFormat`.

    Attributes:
        pixels: how images are stored.
        classes: what their labels mean.
    """

    FEATURES: ClassVar[tfds.features.FeaturesDict] = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.Scalar(np.int64),
            "name": tfds.features.Text(),
            "size": tfds.features.Tensor(shape=(2,), dtype=np.int32),
        }
    )

    pixels: Pixels
    classes: ImageClasses

    @property
    def writer_options(self) -> str:
        """Options of array_record's writer."""
        return _WRITER_OPTIONS[self.pixels]

    @property
    def meaning(self) -> ImageClasses:
        """The classes."""
        return self.classes

    def check_split(self, counts: ClassCounts, name: str, split: str) -> None:
        """Refuses a split whose labels mean nothing, whether trained on or compared with.

        Raises:
            InputError: if all its images are of one class.
        """
        if len(counts.images) < 2:
            only = ", ".join(repr(self.classes.names[index]) for index in counts.images)
            raise InputError(
                f"all images of split '{split}' of '{name}' are of class {only}: there is nothing "
                "to learn from it or to compare with; expected images of two classes at least"
            )

    def to_plain(self) -> dict[str, Any]:
        """Returns JSON that describes the set."""
        return {"pixels": self.pixels, "classes": self.classes.to_plain()}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "ClassifiedImages":
        """Returns the format that a table of contents describes.

        Raises:
            KeyError, TypeError or ValueError: if it describes something else.
        """
        if plain["pixels"] not in PIXELS:
            raise ValueError(f"pixels are {plain['pixels']!r}; expected one of {PIXELS}")
        return cls(plain["pixels"], ImageClasses.from_plain(plain["classes"]))

    def store(self, example: Example) -> StoredExample[ClassCounts]:
        """Loads an example and returns it as it is stored."""
        encoded, image, label = example.load()
        height, width, _ = image.shape
        record = {
            # Bytes, not arrays, which TFDS would encode with TensorFlow.
            "image": encoded if self.pixels == "as_found" else encode_plain(image),
            "label": label,
            "name": example.name,
            "size": np.array((height, width), np.int32),
        }
        serialized = self.FEATURES.serialize_example(record)
        return StoredExample(serialized, (height, width), ClassCounts({label: 1}))

    def no_counts(self) -> ClassCounts:
        """Returns the counts of no image."""
        return ClassCounts({})

    def counts_from_plain(self, plain: Any) -> ClassCounts:
        """Returns the counts that JSON holds; raises as `ClassCounts.from_plain`."""
        return ClassCounts.from_plain(plain, self.classes.num_classes)

    def summary(self, counts: Mapping[str, ClassCounts]) -> dict[str, Any]:
        """Returns the number of images of each split by the names of the classes."""
        by_name = {
            split: {self.classes.names[index]: n for index, n in sorted(of_split.images.items())}
            for split, of_split in counts.items()
        }
        return {"images": by_name}

    def save_samples(self, path: epath.Path, samples: Iterable[tuple[str, Record]]) -> None:
        """Writes a PNG of some images with the names of their classes."""
        save_samples(path, ((name, decode(record)) for name, record in samples), self.classes)
