"""Batches for evaluation: every image of a split once, padded to one of few shapes."""

import dataclasses
from collections.abc import Iterator
from typing import Any, TypedDict

import numpy as np
from jaxtyping import Int32, UInt8
from ml_collections import ConfigDict

from gcnet_jax.data import (
    Place,
    Split,
    evaluation_order,
    ordered_batches,
    resize_image,
    shard_size,
)
from gcnet_jax.tasks.detection.data.datasets import DATA_SETS
from gcnet_jax.tasks.detection.data.records import Record, decode
from gcnet_jax.tasks.detection.data.training_shapes import array_sizes, resized


class EvaluationBatch(TypedDict):
    """Images of several sizes in arrays of one shape.

    Attributes:
        image: RGB at the top left of its array, 0 around it.
        size: height and width of each in pixels; (0, 0) for an entry that only fills the batch up.
        original_size: before it was resized; (0, 0) for such an entry.
        index: of each image in its split; -1 for such an entry.
    """

    image: UInt8[np.ndarray, "b h w 3"]
    size: Int32[np.ndarray, "b 2"]
    original_size: Int32[np.ndarray, "b 2"]
    index: Int32[np.ndarray, " b"]


def evaluation_batches(
    config: ConfigDict, split: str, *, shard_index: int = 0, shard_count: int = 1
) -> Iterator[EvaluationBatch]:
    """Yields every image of a split once, resized to fit `data.base_scale`.

    The images are grouped into at most `evaluation.max_buckets` groups of similar size. All batches
    of a group have the same shapes; one that stays incomplete is filled up with entries that are
    ignored everywhere. All parts have the same number of batches with the same shapes, as
    computations over all of them need; each reads its own images alone.

    Args:
        config: of the run; what counts is in `data` and `evaluation`.
        split: which split to read.
        shard_index: which part of each batch to yield.
        shard_count: how many parts a batch of `evaluation.batch_size` has.

    Raises:
        InputError: the split cannot be opened or has no objects, the batch does not divide by the
          parts, or a record is corrupt; all but the last at once, not with the first batch.
    """
    batch_size = config.evaluation.batch_size
    shard_size(batch_size, shard_count)  # the quickest to be refused
    records = DATA_SETS.open_split(config.data.name, config.data.data_dir, split)
    DATA_SETS.check_split(config.data.name, config.data.data_dir, split)
    sizes = _sizes(config, split)
    return ordered_batches(
        _order(config, sizes),
        _Load(records, sizes),
        batch_size=batch_size,
        shard_index=shard_index,
        shard_count=shard_count,
    )


def images_in_part(
    config: ConfigDict, split: str, *, shard_index: int = 0, shard_count: int = 1
) -> list[int]:
    """Returns the indices of the images that one part of the evaluation batches of a split holds.

    Args:
        config: of the run.
        split: of its data set.
        shard_index: which part.
        shard_count: how many parts there are.

    Raises:
        InputError: the split cannot be opened.
    """
    order = _order(config, _sizes(config, split))
    return sorted(
        place.index for place in order[shard_index::shard_count] if place.index is not None
    )


def _sizes(config: ConfigDict, split: str) -> Int32[np.ndarray, "n 2"]:
    """Returns the size of each image as the network sees it."""
    stored = DATA_SETS.image_sizes(config.data.name, config.data.data_dir, split)
    return resized(stored, [tuple(config.data.base_scale)])


def _order(config: ConfigDict, sizes: Int32[np.ndarray, "n 2"]) -> list[Place]:
    return evaluation_order(
        array_sizes(sizes)[:, None],
        max_buckets=config.evaluation.max_buckets,
        batch_size=config.evaluation.batch_size,
    )


@dataclasses.dataclass(frozen=True)
class _Load:
    """Makes, of a place, its part of an `EvaluationBatch`, without the batch axis."""

    records: Split[Record]
    sizes: Int32[np.ndarray, "n 2"]

    def __call__(self, place: Place) -> dict[str, Any]:
        (shape,) = place.shapes
        array = np.zeros((*shape, 3), np.uint8)
        size = original_size = np.zeros(2, np.int32)
        if place.index is not None:
            image = decode(self.records[place.index])["image"]
            size, original_size = self.sizes[place.index], np.array(image.shape[:2], np.int32)
            height, width = size.tolist()
            array[:height, :width] = resize_image(image, (height, width))
        return {
            "image": array,
            "size": size,
            "original_size": original_size,
            "index": np.int32(-1 if place.index is None else place.index),
        }
