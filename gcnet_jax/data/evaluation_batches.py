"""Batches for evaluation: every image of a split once, padded to one of few shapes."""

import dataclasses
import os
from collections.abc import Iterator
from typing import Any, TypedDict

import cv2
import grain
import numpy as np
from jaxtyping import Int32, UInt8
from ml_collections import ConfigDict

from gcnet_jax.data.buckets import group_into_buckets
from gcnet_jax.data.catalog import IGNORE_LABEL
from gcnet_jax.data.datasets import Split, check_labels, open_split, split_image_sizes
from gcnet_jax.data.pipeline import shard_size
from gcnet_jax.data.records import decode
from gcnet_jax.data.transforms import rescaled_size

_MAX_THREADS = 16


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
    """The sizes at which the network sees an image, as (height, width).

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


def resize_image(
    image: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]
) -> UInt8[np.ndarray, "out_h out_w 3"]:
    """Resizes to (height, width) bilinearly."""
    if image.shape[:2] == size:
        return image
    return cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)


def evaluation_batches(
    config: ConfigDict,
    split: str,
    *,
    multi_scale: bool = False,
    shard_index: int = 0,
    shard_count: int = 1,
) -> Iterator[EvaluationBatch]:
    """Yields every image of a split once.

    The images are grouped into at most `evaluation.max_buckets` groups of similar size. All batches
    of a group have the same shapes, whose heights split over `parallel.spatial` devices; one that
    stays incomplete is filled up with entries that are ignored everywhere, so that nothing counts
    twice. All parts have the same number of batches with the same shapes, as computations over all
    of them need; each reads its own images alone.

    Args:
        config: of the run; what counts is in `data` and `evaluation`.
        split: which split to read.
        multi_scale: whether images come at each of `evaluation.scales`, see `scaled_sizes`.
        shard_index: which part of each batch to yield.
        shard_count: how many parts a batch of `evaluation.batch_size` has.

    Raises:
        InputError: the split cannot be opened or has no labels, the batch does not divide by the
          parts, or a record is corrupt; all but the last at once, not with the first batch.
    """
    local_batch_size = shard_size(config.evaluation.batch_size, shard_count)
    records = open_split(config.data.name, config.data.data_dir, split)
    check_labels(config.data.name, config.data.data_dir, split)
    entries = _plan(split, config, multi_scale=multi_scale)
    threads = min(os.cpu_count() or 1, _MAX_THREADS)
    images = grain.MapDataset.source(entries[shard_index::shard_count]).map(_Load(records))
    images = images.to_iter_dataset(grain.ReadOptions(threads, 2 * threads))
    return iter(images.batch(local_batch_size))


def images_in_part(
    config: ConfigDict,
    split: str,
    *,
    multi_scale: bool = False,
    shard_index: int = 0,
    shard_count: int = 1,
) -> list[int]:
    """The images of a split that one part of its evaluation batches holds, by their indices.

    Args:
        config: of the run.
        split: of its data set.
        multi_scale: of the batches.
        shard_index: which part.
        shard_count: how many parts there are.

    Raises:
        InputError: the split cannot be opened.
    """
    entries = _plan(split, config, multi_scale=multi_scale)[shard_index::shard_count]
    return sorted(entry.index for entry in entries if entry.index is not None)


@dataclasses.dataclass(frozen=True)
class _Entry:
    """One entry of a batch.

    Attributes:
        index: of the image in its split; `None` for an entry that fills the batch up.
        scaled_sizes: (height, width) of the image at each scale.
        scaled_buckets: (height, width) of the array for each scale.
        label_bucket: (height, width) of the label's array.
    """

    index: int | None
    scaled_sizes: list[tuple[int, int]]
    scaled_buckets: list[tuple[int, int]]
    label_bucket: tuple[int, int]


def _plan(split: str, config: ConfigDict, *, multi_scale: bool) -> list[_Entry]:
    """The entries of all batches of a split, one batch after the other."""
    image_sizes = split_image_sizes(config.data.name, config.data.data_dir, split).tolist()
    sizes = [
        [*scaled_sizes((height, width), config, multi_scale=multi_scale), (height, width)]
        for height, width in image_sizes
    ]
    entries = []
    for members in group_into_buckets(np.array(sizes), config.evaluation.max_buckets):
        height_and_width = np.array([sizes[index] for index in members]).max(0)
        *scaled, label = ((_splitting_height(int(h), config), int(w)) for h, w in height_and_width)
        fill_up = -len(members) % config.evaluation.batch_size
        entries += [_Entry(int(index), sizes[index][:-1], scaled, label) for index in members]
        entries += [_Entry(None, [(0, 0)] * len(scaled), scaled, label)] * fill_up
    return entries


def _splitting_height(height: int, config: ConfigDict) -> int:
    """The next height that splits over `parallel.spatial` devices, the smallest features too."""
    spatial = config.parallel.spatial
    unit = spatial * config.model.backbone.output_stride if spatial > 1 else 1
    return -(-height // unit) * unit


@dataclasses.dataclass(frozen=True)
class _Load:
    """From an entry to its part of an `EvaluationBatch`, without the batch axis."""

    records: Split

    def __call__(self, entry: _Entry) -> dict[str, Any]:
        label = np.full(entry.label_bucket, IGNORE_LABEL, np.uint8)
        label_size = np.zeros(2, np.int32)
        images = [np.zeros((*bucket, 3), np.uint8) for bucket in entry.scaled_buckets]
        if entry.index is not None:
            sample = decode(self.records[entry.index])
            label_size[:] = height, width = sample["label"].shape
            label[:height, :width] = sample["label"]
            for image, (height, width) in zip(images, entry.scaled_sizes, strict=True):
                image[:height, :width] = resize_image(sample["image"], (height, width))
        scaled = [
            {"image": image, "size": np.array(size, np.int32)}
            for image, size in zip(images, entry.scaled_sizes, strict=True)
        ]
        return {
            "scaled": scaled,
            "label": label,
            "label_size": label_size,
            "index": np.int32(-1 if entry.index is None else entry.index),
        }
