"""A task of its own: images with a number each, such as how many things are to be seen."""

import dataclasses
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from gcnet_jax.data import (
    DataSets,
    Example,
    Examples,
    OfficialSet,
    Part,
    StoredExample,
    encode_png,
)
from gcnet_jax.errors import InputError

SPLITS = {"train": 7, "val": 4}


@dataclasses.dataclass(frozen=True)
class Numbers:
    """What is counted: the sum of the numbers."""

    total: int

    def __add__(self, other: "Numbers") -> "Numbers":
        return Numbers(self.total + other.total)

    def to_plain(self) -> int:
        return self.total


@dataclasses.dataclass(frozen=True)
class NumberedImages:
    """How they are stored: with a unit that all numbers of a set have."""

    FEATURES: ClassVar[tfds.features.FeaturesDict] = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "name": tfds.features.Text(),
            "number": tfds.features.Scalar(np.int64),
            "size": tfds.features.Tensor(shape=(2,), dtype=np.int32),
        }
    )

    unit: str = "sheep"
    writer_options: str = "group_size:1"

    @property
    def meaning(self) -> str:
        return self.unit

    def check_split(self, counts: Numbers, name: str, split: str) -> None:
        if not counts.total:
            raise InputError(f"nothing is to be seen in {split} of {name}")

    def to_plain(self) -> dict[str, Any]:
        return {"unit": self.unit}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "NumberedImages":
        if not isinstance(plain["unit"], str):
            raise TypeError("no unit")
        return cls(plain["unit"])

    def store(self, example: Example) -> StoredExample[Numbers]:
        image, number = example.load()
        record = {
            "image": encode_png(image),
            "name": example.name,
            "number": number,
            "size": np.array(image.shape[:2], np.int32),
        }
        return StoredExample(
            self.FEATURES.serialize_example(record), image.shape[:2], Numbers(number)
        )

    def no_counts(self) -> Numbers:
        return Numbers(0)

    def counts_from_plain(self, plain: Any) -> Numbers:
        return Numbers(int(plain))

    def summary(self, counts: Mapping[str, Numbers]) -> dict[str, Any]:
        return {"in all": {split: f"{of.total} {self.unit}" for split, of in counts.items()}}

    def save_samples(self, path: epath.Path, samples: Iterable[tuple[str, Any]]) -> None:
        path.write_text(json.dumps([name for name, _ in samples]))


@dataclasses.dataclass(frozen=True)
class NumberedFile:
    """A file that holds a number, which is also how tall and bright its image is."""

    path: epath.Path

    @property
    def name(self) -> str:
        return self.path.stem

    def fingerprint(self) -> str:
        return f"{self.name} {self.path.stat().mtime}"

    def load(self) -> tuple[np.ndarray, int]:
        number = int(self.path.read_text())
        return np.full((number + 1, 8, 3), number, np.uint8), number


def find_examples(roots: Sequence[epath.Path], splits: Collection[str]) -> Examples:
    return {
        split: [NumberedFile(path) for path in sorted((roots[0] / split).iterdir())]
        for split in splits
    }


FLOCKS = OfficialSet(
    name="flocks",
    description="Sheep.",
    find_examples=find_examples,
    splits=tuple(SPLITS),
    parts=tuple(Part((split,), splits=(split,)) for split in SPLITS),
    counts=SPLITS,
)

DATA_SETS = DataSets(
    {"flocks": FLOCKS}, {"flocks": "sheep"}, NumberedImages, own_command="numbers --name {name}"
)


def write_flocks(folder, sizes=SPLITS):
    """Writes the files of `FLOCKS`; example i has the number i."""
    for split, size in sizes.items():
        (folder / split).mkdir(parents=True)
        for i in range(size):
            (folder / split / f"{split}_{i}.txt").write_text(str(i))
    return folder
