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
    rescaled_size,
    resize_image,
    shard_size,
)
from gcnet_jax.tasks.segmentation.data.catalog import IGNORE_LABEL
from gcnet_jax.tasks.segmentation.data.datasets import DATA_SETS
from gcnet_jax.tasks.segmentation.data.records import Record, decode


class ScaledImages(TypedDict):
    """The images of a batch at one scale.

    Attributes:
        image: RGB, at the top left of its array, with 0 around it.
        size: height and width of each in pixels; (0, 0) for an entry that only fills the batch up.
    """

    image: UInt8[np.ndarray, "b h w 3"]
    size: Int32[np.ndarray, "b 2"]


class EvaluationBatch(TypedDict):
    """Images of several sizes, each at one scale or more, with their labels.

    Attributes:
        scaled: the images at each scale.
        label: class indices at the size that the images were stored in, 255 where ignored and
          around the label, which lies at the top left.
        label_size: height and width of each label in pixels; (0, 0) for an entry that only fills
          the batch up.
        index: of each image in its split; -1 for an entry that only fills the batch up.
    """

    scaled: list[ScaledImages]
    label: UInt8[np.ndarray, "b h w"]
    label_size: Int32[np.ndarray, "b 2"]
    index: Int32[np.ndarray, " b"]


def scaled_sizes(
    size: tuple[int, int], config: ConfigDict, *, multi_scale: bool
) -> list[tuple[int, int]]:
    """Returns the sizes at which the network sees an image, as (height, width).

    Args:
        size: of the image.
        config: of the run: at a single scale the image is made to fit `data.base_scale` (long edge,
          short edge), at several it is scaled by each of `evaluation.scales`. Its aspect is kept.
        multi_scale: which of the two.
    """
    height, width = size
    bounds = [tuple(config.data.base_scale)]
    if multi_scale:
        bounds = [(int(width * r + 0.5), int(height * r + 0.5)) for r in config.evaluation.scales]
    return [rescaled_size(size, bound) for bound in bounds]


def evaluation_batches(
    config: ConfigDict,
    split: str,
    *,
    multi_scale: bool = False,
    height_multiple: int = 1,
    shard_index: int = 0,
    shard_count: int = 1,
) -> Iterator[EvaluationBatch]:
    """Yields every image of a split once.

    The images are grouped into at most `evaluation.max_buckets` groups of similar size. All batches
    of a group have the same shapes; one that stays incomplete is filled up with entries that are
    ignored everywhere, so that nothing counts twice. All parts have the same number of batches with
    the same shapes, as computations over all of them need; each reads its own images alone.

    Args:
        config: of the run; what counts is in `data` and `evaluation`.
        split: which split to read.
        multi_scale: whether images come at each of `evaluation.scales`, see `scaled_sizes`.
        height_multiple: heights of arrays are multiples of this, see `height_multiple`.
        shard_index: which part of each batch to yield.
        shard_count: how many parts a batch of `evaluation.batch_size` has.

    Raises:
        InputError: the split cannot be opened or has no labels, the batch does not divide by the
          parts, or a record is corrupt; all but the last at once, not with the first batch.
    """
    batch_size = config.evaluation.batch_size
    shard_size(batch_size, shard_count)  # the quickest to be refused
    records = DATA_SETS.open_split(config.data.name, config.data.data_dir, split)
    DATA_SETS.check_split(config.data.name, config.data.data_dir, split)
    sizes = _sizes(split, config, multi_scale=multi_scale)
    order = evaluation_order(
        sizes,
        max_buckets=config.evaluation.max_buckets,
        batch_size=batch_size,
        height_multiple=height_multiple,
    )
    return ordered_batches(
        order,
        _Load(records, sizes),
        batch_size=batch_size,
        shard_index=shard_index,
        shard_count=shard_count,
    )


def height_multiple(config: ConfigDict) -> int:
    """Returns what heights must divide by to split over `parallel.spatial` devices.

    Not only the image is split, but all its features, of which the smallest have the backbone's
    stride.
    """
    spatial = config.parallel.spatial
    return spatial * config.model.backbone.output_stride if spatial > 1 else 1


def images_in_part(
    config: ConfigDict,
    split: str,
    *,
    multi_scale: bool = False,
    shard_index: int = 0,
    shard_count: int = 1,
) -> list[int]:
    """Returns the indices of the images that one part of the evaluation batches of a split holds.

    Args:
        config: of the run.
        split: of its data set.
        multi_scale: of the batches.
        shard_index: which part.
        shard_count: how many parts there are.

    Raises:
        InputError: the split cannot be opened.
    """
    order = evaluation_order(
        _sizes(split, config, multi_scale=multi_scale),
        max_buckets=config.evaluation.max_buckets,
        batch_size=config.evaluation.batch_size,
    )
    return sorted(
        place.index for place in order[shard_index::shard_count] if place.index is not None
    )


def _sizes(
    split: str, config: ConfigDict, *, multi_scale: bool
) -> Int32[np.ndarray, "n scales_and_label 2"]:
    """Returns (height, width) of each image at each scale, and of its label."""
    stored = DATA_SETS.image_sizes(config.data.name, config.data.data_dir, split).tolist()
    return np.array(
        [
            [*scaled_sizes((height, width), config, multi_scale=multi_scale), (height, width)]
            for height, width in stored
        ],
        np.int32,
    )


@dataclasses.dataclass(frozen=True)
class _Load:
    """Makes, of a place, its part of an `EvaluationBatch`, without the batch axis."""

    records: Split[Record]
    sizes: Int32[np.ndarray, "n scales_and_label 2"]

    def __call__(self, place: Place) -> dict[str, Any]:
        *image_shapes, label_shape = place.shapes
        label = np.full(label_shape, IGNORE_LABEL, np.uint8)
        images = [np.zeros((*shape, 3), np.uint8) for shape in image_shapes]
        sizes = np.zeros((len(place.shapes), 2), np.int32)
        if place.index is not None:
            sample, sizes = decode(self.records[place.index]), self.sizes[place.index]
            height, width = sizes[-1]
            label[:height, :width] = sample["label"]
            for image, (height, width) in zip(images, sizes[:-1].tolist(), strict=True):
                image[:height, :width] = resize_image(sample["image"], (height, width))
        return {
            "scaled": [
                {"image": image, "size": size}
                for image, size in zip(images, sizes[:-1], strict=True)
            ],
            "label": label,
            "label_size": sizes[-1],
            "index": np.int32(-1 if place.index is None else place.index),
        }
