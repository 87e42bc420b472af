"""What a task says of its records, so that `gcnet_jax.data` stores and finds them for it."""

import zlib
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, Self, TypeVar

import tensorflow_datasets as tfds
from etils import epath

from gcnet_jax.data.examples import Example


class Counts(Protocol):
    """What a task counts over examples, such as how often each class occurs.

    They are added in the order of the examples.
    """

    def __add__(self, other: Self, /) -> Self:
        """Returns the counts of both together."""
        ...

    def to_plain(self) -> Any:
        """Returns JSON from which `RecordFormat.counts_from_plain` makes the same counts."""
        ...


C = TypeVar("C", bound=Counts)


class StoredExample(NamedTuple, Generic[C]):
    """An example as it is stored.

    Attributes:
        record: the bytes of its record.
        size: (height, width) of its image in pixels.
        counts: what the task counts of it.
    """

    record: bytes
    size: tuple[int, int]
    counts: C


class RecordFormat(Protocol[C]):
    """How the records of one data set are stored, and what is noted of them.

    Each task has a class of its own. An instance belongs to one data set: it has whatever the
    task's sets differ in, such as their classes.

    Attributes:
        FEATURES: how TFDS describes a record. Among them are `name`, a text, and `size`, two int32:
            height and width of the image in pixels. Images at the top level are handed out as the
            bytes of their files.
    """

    FEATURES: ClassVar[tfds.features.FeaturesDict]

    @property
    def writer_options(self) -> str:
        """Options of array_record's writer."""
        ...

    @property
    def meaning(self) -> Any:
        """What the outputs of a network mean that is trained on the set, see `gcnet_jax.task`."""
        ...

    def check_split(self, counts: C, name: str, split: str) -> None:
        """Refuses a split that means nothing, whether trained on or compared with.

        Args:
            counts: of the split.
            name: of the data set.
            split: of it.

        Raises:
            InputError: there is nothing to learn from it or to compare with.
        """
        ...

    def to_plain(self) -> dict[str, Any]:
        """Returns JSON that describes the set. It stands in the table of contents."""
        ...

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Returns the format that a table of contents describes, among other entries.

        Raises:
            KeyError, TypeError or ValueError: if it describes something else.
        """
        ...

    def store(self, example: Example) -> StoredExample[C]:
        """Loads an example and returns it as it is stored; in one of several threads."""
        ...

    def no_counts(self) -> C:
        """Returns the counts of no example."""
        ...

    def counts_from_plain(self, plain: Any) -> C:
        """Returns the counts that `Counts.to_plain` has made JSON of.

        Raises:
            KeyError, TypeError, ValueError or OverflowError: if it is something else.
        """
        ...

    def summary(self, counts: Mapping[str, C]) -> dict[str, Any]:
        """Returns entries of the table of contents for people who read it.

        Args:
            counts: of each split.
        """
        ...

    def save_samples(self, path: epath.Path, samples: Iterable[tuple[str, Any]]) -> None:
        """Writes a picture of some examples, for a look before any training.

        Args:
            path: of the PNG.
            samples: what to call each, and its record.
        """
        ...


def deserialize(record_format: type[RecordFormat], serialized: bytes) -> Any:
    """Returns the entries of a record by their names, with images still encoded.

    Raises:
        Exception: of several kinds, if the bytes are no such record.
    """
    features = record_format.FEATURES
    still_encoded = {
        name: tfds.decode.SkipDecoding()
        for name, feature in features.items()
        if isinstance(feature, tfds.features.Image)
    }
    return features.deserialize_example_np(serialized, decoders=still_encoded)


def identity(serialized: bytes) -> int:
    """Returns a number that tells a stored record from others, whichever file they lie in.

    The number is made of the length and of at most 65,536 bytes, spread evenly: pixels that are
    stored uncompressed have megabytes. That bytes are still what was written, array_record's own
    checksum says.
    """
    step = len(serialized) // 65_536 + 1
    return zlib.crc32(serialized[::step], len(serialized))


def different_entry(before: RecordFormat, now: RecordFormat) -> tuple[str, Any, Any] | None:
    """Returns the name of the first entry in which two formats differ, and both its values."""
    plain, other = before.to_plain(), now.to_plain()
    for key in plain:
        if plain[key] != other.get(key):
            return key, plain[key], other.get(key)
    return None
