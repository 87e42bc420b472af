"""How data sets of images with annotated objects are stored.

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
from gcnet_jax.tasks.detection.classes import ObjectClasses
from gcnet_jax.tasks.detection.data.object_counts import ObjectCounts
from gcnet_jax.tasks.detection.data.records import Record, decode, joined_masks
from gcnet_jax.tasks.detection.data.sample_picture import save_samples

_WRITER_OPTIONS: Mapping[Pixels, str] = MappingProxyType(
    # Neither JPEGs nor plain pixels gain by array_record's compression: the ones become hardly
    # smaller, and to undo that of the others takes longer than to read the bytes it saves.
    {"as_found": "group_size:1", "uncompressed": "group_size:1,uncompressed"}
)


@dataclasses.dataclass(frozen=True)
class AnnotatedImages:
    """How a data set of annotated images is stored: a `gcnet_jax.data.RecordFormat`.

    Attributes:
        pixels: how images are stored.
        classes: of the objects.
        has_masks: whether objects have masks, and not boxes alone.
    """

    FEATURES: ClassVar[tfds.features.FeaturesDict] = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "image_id": tfds.features.Scalar(np.int64),
            "name": tfds.features.Text(),
            "size": tfds.features.Tensor(shape=(2,), dtype=np.int32),
            "boxes": tfds.features.Tensor(shape=(None, 4), dtype=np.float32),
            "classes": tfds.features.Tensor(shape=(None,), dtype=np.int32),
            "crowds": tfds.features.Tensor(shape=(None,), dtype=np.bool_),
            "areas": tfds.features.Tensor(shape=(None,), dtype=np.float32),
            "has_masks": tfds.features.Scalar(np.bool_),
            "masks": tfds.features.Scalar(np.bytes_),
        }
    )

    pixels: Pixels
    classes: ObjectClasses
    has_masks: bool

    @property
    def writer_options(self) -> str:
        """Options of array_record's writer."""
        return _WRITER_OPTIONS[self.pixels]

    @property
    def meaning(self) -> ObjectClasses:
        """The classes."""
        return self.classes

    def check_split(self, counts: ObjectCounts, name: str, split: str) -> None:
        """Refuses a split without objects, whether trained on or compared with.

        Raises:
            InputError: if no object is there that could be trained on.
        """
        if not counts.total:
            raise InputError(
                f"split '{split}' of '{name}' has no object but crowds and such without area: "
                "there is nothing to learn from it or to compare with; expected one object at least"
            )

    def to_plain(self) -> dict[str, Any]:
        """Returns JSON that describes the set."""
        return {
            "pixels": self.pixels,
            "classes": self.classes.to_plain(),
            "has_masks": self.has_masks,
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "AnnotatedImages":
        """Returns the format that a table of contents describes.

        Raises:
            KeyError, TypeError or ValueError: if it describes something else.
        """
        if plain["pixels"] not in PIXELS:
            raise ValueError(f"pixels are {plain['pixels']!r}; expected one of {PIXELS}")
        if not isinstance(plain["has_masks"], bool):
            raise TypeError(f"has_masks is {plain['has_masks']!r}; expected true or false")
        return cls(plain["pixels"], ObjectClasses.from_plain(plain["classes"]), plain["has_masks"])

    def store(self, example: Example) -> StoredExample[ObjectCounts]:
        """Loads an example and returns it as it is stored."""
        encoded, image, image_id, annotations = example.load()
        height, width, _ = image.shape
        record = {
            # Bytes, not arrays, which TFDS would encode with TensorFlow.
            "image": encoded if self.pixels == "as_found" else encode_plain(image),
            "image_id": image_id,
            "name": example.name,
            "size": np.array((height, width), np.int32),
            "boxes": annotations.boxes,
            "classes": annotations.classes,
            "crowds": annotations.crowds,
            "areas": annotations.areas,
            "has_masks": self.has_masks,
            "masks": joined_masks(annotations.masks or ()),
        }
        serialized = self.FEATURES.serialize_example(record)
        counts = ObjectCounts.of(annotations, (height, width))
        return StoredExample(serialized, (height, width), counts)

    def no_counts(self) -> ObjectCounts:
        """Returns the counts of no image."""
        return ObjectCounts({})

    def counts_from_plain(self, plain: Any) -> ObjectCounts:
        """Returns the counts that JSON holds; raises as `ObjectCounts.from_plain`."""
        return ObjectCounts.from_plain(plain, self.classes.num_classes)

    def summary(self, counts: Mapping[str, ObjectCounts]) -> dict[str, Any]:
        """Returns the number of objects of each split by the names of the classes."""
        by_name = {
            split: {self.classes.names[index]: n for index, n in sorted(of_split.objects.items())}
            for split, of_split in counts.items()
        }
        most = {split: of_split.most for split, of_split in counts.items()}
        return {"objects": by_name, "most objects in an image": most}

    def save_samples(self, path: epath.Path, samples: Iterable[tuple[str, Record]]) -> None:
        """Writes a PNG of some images with their objects."""
        save_samples(path, ((name, decode(record)) for name, record in samples), self.classes)
