"""Batches for evaluation: the middle of every image of a split, once."""

import dataclasses
from collections.abc import Iterator
from typing import Any, TypedDict

import numpy as np
from jaxtyping import Int32, UInt8
from ml_collections import ConfigDict

from gcnet_jax.data import Place, Split, evaluation_order, ordered_batches, shard_size
from gcnet_jax.tasks.classification.data.datasets import DATA_SETS
from gcnet_jax.tasks.classification.data.records import Record, decode
from gcnet_jax.tasks.classification.data.transforms import evaluation_crop


class EvaluationBatch(TypedDict):
    """Images of one size with their classes.

    Attributes:
        image: RGB; 0 for an entry that only fills the batch up.
        label: class indices; -1 for an entry that only fills the batch up.
        index: of each image in its split; -1 for an entry that only fills the batch up.
    """

    image: UInt8[np.ndarray, "b h w 3"]
    label: Int32[np.ndarray, " b"]
    index: Int32[np.ndarray, " b"]


def evaluation_batches(
    config: ConfigDict, split: str, *, shard_index: int = 0, shard_count: int = 1
) -> Iterator[EvaluationBatch]:
    """Yields every image of a split once.

    All batches have the same shape; the last is filled up with entries that count nowhere. All
    parts have the same number of batches, as computations over all of them need; each reads its own
    images alone.

    Args:
        config: of the run; what counts is `data.name`, `data.data_dir`, `data.resize_size` (of the
          shorter edge), `data.crop_size` (edge of the square taken from the middle, not longer) and
          `evaluation.batch_size`.
        split: which split to read.
        shard_index: which part of each batch to yield.
        shard_count: how many parts a batch of `evaluation.batch_size` has.

    Raises:
        InputError: the split cannot be opened, the batch does not divide by the parts, or a record
          is corrupt; all but the last at once, not with the first batch.
    """
    batch_size = config.evaluation.batch_size
    shard_size(batch_size, shard_count)  # the quickest to be refused
    records = DATA_SETS.open_split(config.data.name, config.data.data_dir, split)
    return ordered_batches(
        _order(len(records), config.data.crop_size, batch_size),
        _Load(records, config.data.resize_size, config.data.crop_size),
        batch_size=batch_size,
        shard_index=shard_index,
        shard_count=shard_count,
    )


def images_in_part(
    config: ConfigDict, split: str, *, shard_index: int = 0, shard_count: int = 1
) -> list[int]:
    """Returns which images of a split a part of the batches has, by their indices in it.

    Args:
        config: as of `evaluation_batches`.
        split: which split.
        shard_index: which part.
        shard_count: how many parts there are.

    Raises:
        InputError: the split cannot be opened.
    """
    records = DATA_SETS.open_split(config.data.name, config.data.data_dir, split)
    order = _order(len(records), config.data.crop_size, config.evaluation.batch_size)
    return [place.index for place in order[shard_index::shard_count] if place.index is not None]


def _order(count: int, crop_size: int, batch_size: int) -> list[Place]:
    sizes = np.full((count, 1, 2), crop_size, np.int32)
    return evaluation_order(sizes, max_buckets=1, batch_size=batch_size)


@dataclasses.dataclass(frozen=True)
class _Load:
    """Makes, of a place, its part of an `EvaluationBatch`, without the batch axis."""

    records: Split[Record]
    resize_size: int
    crop_size: int

    def __call__(self, place: Place) -> dict[str, Any]:
        if place.index is None:
            image = np.zeros((self.crop_size, self.crop_size, 3), np.uint8)
            return {"image": image, "label": np.int32(-1), "index": np.int32(-1)}
        sample = decode(self.records[place.index])
        return {
            "image": evaluation_crop(sample["image"], self.resize_size, self.crop_size),
            "label": np.int32(sample["label"]),
            "index": np.int32(place.index),
        }
