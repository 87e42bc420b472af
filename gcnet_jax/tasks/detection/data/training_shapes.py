"""The images that are trained on, the shapes of their arrays, and the room for objects in each."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Int32
from ml_collections import ConfigDict

from gcnet_jax.data import group_into_buckets, rescaled_size
from gcnet_jax.errors import InputError
from gcnet_jax.tasks.detection.data.datasets import DATA_SETS
from gcnet_jax.tasks.detection.detector import DIVISOR

_ROOM_STEP = 8
_ROOM_WITHOUT_DATA = 96
"""What COCO needs."""


class TrainingArrays(NamedTuple):
    """The arrays of training batches.

    Attributes:
        shapes: (height, width) of the images of each bucket; that of the largest ones first.
        capacity: room for so many objects in each image.
    """

    shapes: list[tuple[int, int]]
    capacity: int


class TrainingImages(NamedTuple):
    """The images that are trained on.

    Attributes:
        members: those of each bucket, by their position in the split.
        arrays: that they come in.
        mean_objects: that one has on average.
    """

    members: list[Int[np.ndarray, " _n"]]
    arrays: TrainingArrays
    mean_objects: float


def training_images(config: ConfigDict) -> TrainingImages:
    """Returns which images of a prepared set a run is trained on.

    These are, as in mmdetection, those with annotations of which both edges are long enough.

    Args:
        config: of the run.

    Raises:
        InputError: there is no such split, no image of it is trained on, an image has more objects
            than there is to be room for, or masks are to be learnt from a set that has none.
    """
    data = config.data
    split = (data.name, data.data_dir, data.train_split)
    where = f"split '{data.train_split}' of '{data.name}'"
    contents = DATA_SETS.contents(*split)
    if config.model.mask_head.enabled and not contents.record_format.has_masks:
        raise InputError(
            f"'{data.name}' has boxes alone, and the network masks to learn; expected a set with "
            "masks, or --config.model.mask_head.enabled=False"
        )
    sizes, counts = contents.sizes(data.train_split), contents.counts(data.train_split)
    used = sizes.min(axis=1) >= data.min_size
    if not data.keep_empty:
        used &= counts.annotated > 0
    images = np.flatnonzero(used)
    if not images.size:
        raise InputError(
            f"no image of {where} is trained on: none has annotations and edges of "
            f"data.min_size={data.min_size} pixels or more; expected a smaller one, or "
            "--config.data.keep_empty=True"
        )
    needed = counts.trainable[images]
    room = _capacity(needed, data.max_objects, where)
    members, shapes = _buckets(
        images,
        sizes[images],
        training_scales(config),
        data.max_shapes,
        least=-(-config.training.batch_size // 2),  # no image is in a batch more than twice
    )
    return TrainingImages(members, TrainingArrays(shapes, room), float(needed.mean()))


def training_arrays(config: ConfigDict) -> TrainingArrays:
    """Returns which arrays training batches may have.

    Where the data set is not prepared, they are those of photographs that fill the scales, with
    room for what COCO needs or `data.max_objects`.

    Args:
        config: of the run.

    Raises:
        InputError: as `training_images`, of a set that is prepared.
    """
    if DATA_SETS.holds(config.data.name, config.data.data_dir):
        return training_images(config).arrays
    scales = training_scales(config)
    long, short = (max(bound(scale) for scale in scales) for bound in (max, min))
    photographs = np.array([[short, long], [long, short]])
    _, shapes = _buckets(np.arange(2), photographs, scales, config.data.max_shapes, least=1)
    return TrainingArrays(shapes, config.data.max_objects or _ROOM_WITHOUT_DATA)


def training_scales(config: ConfigDict) -> list[tuple[int, int]]:
    """Returns the bounds on the edges of an image, of which each sample gets one at random."""
    return [tuple(scale) for scale in config.data.train_scales or [config.data.base_scale]]


def array_sizes(sizes: Int[np.ndarray, "n 2"]) -> Int[np.ndarray, "n 2"]:
    """Returns the least sizes of arrays for images of some sizes: the network's multiples."""
    return -(-sizes // DIVISOR) * DIVISOR


def resized(
    sizes: Int[np.ndarray, "n 2"], scales: list[tuple[int, int]]
) -> Int32[np.ndarray, "n 2"]:
    """Returns the largest height and width that images of some sizes have at any of the scales."""
    distinct, place = np.unique(sizes, axis=0, return_inverse=True)
    largest = [
        np.max([rescaled_size((height, width), scale) for scale in scales], axis=0)
        for height, width in distinct.tolist()
    ]
    return np.array(largest, np.int32)[place.ravel()]


def _buckets(
    images: Int[np.ndarray, " n"],
    sizes: Int[np.ndarray, "n 2"],
    scales: list[tuple[int, int]],
    most: int,
    *,
    least: int,
) -> tuple[list[Int[np.ndarray, " _n"]], list[tuple[int, int]]]:
    """Groups images by the arrays they need.

    There are fewer groups than `most` where one would have less than `least` images: batches of it
    would hold the same images over and over.
    """
    arrays = array_sizes(resized(sizes, scales))
    groups = group_into_buckets(arrays[:, None], most)
    while len(groups) > 1 and min(len(group) for group in groups) < least:
        groups = group_into_buckets(arrays[:, None], len(groups) - 1)
    shapes = [(int(height), int(width)) for height, width in (arrays[g].max(0) for g in groups)]
    return [images[group] for group in groups], shapes


def _capacity(needed: Int[np.ndarray, " n"], room: int, where: str) -> int:
    most = int(needed.max())
    if not room:
        return max(-(-most // _ROOM_STEP), 1) * _ROOM_STEP
    if room < most:
        raise InputError(
            f"data.max_objects is {room}, and {int(np.sum(needed > room))} images of {where} have "
            f"more objects than that; expected {most} or more, or 0 for what the set needs"
        )
    return room
