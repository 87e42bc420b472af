"""The order in which evaluation reads a split: each image once, in batches of few shapes."""

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import grain
import numpy as np
from jaxtyping import Int

from gcnet_jax.data.buckets import group_into_buckets
from gcnet_jax.data.pipeline import shard_size

_MAX_THREADS = 16


@dataclasses.dataclass(frozen=True)
class Place:
    """A place in a batch.

    Attributes:
        index: of the image in its split; None for a place that only fills the batch up.
        shapes: (height, width) of each array of the image; the same for all of a batch.
    """

    index: int | None
    shapes: Sequence[tuple[int, int]]


def evaluation_order(
    sizes: Int[np.ndarray, "n arrays 2"],
    *,
    max_buckets: int,
    batch_size: int,
    height_multiple: int = 1,
) -> list[Place]:
    """Returns the places of all batches of a split, one batch after the other.

    The images are grouped into few groups of similar sizes, large ones first. All batches of a
    group have the same shapes. One that stays incomplete is filled up with places for no image.

    Args:
        sizes: (height, width) of each image, in every form in which its arrays hold it.
        max_buckets: most groups to make.
        batch_size: places a batch.
        height_multiple: all heights of arrays are multiples of this.
    """
    places = []
    for members in group_into_buckets(sizes, max_buckets):
        shapes = [
            (-(-int(height) // height_multiple) * height_multiple, int(width))
            for height, width in sizes[members].max(0)
        ]
        places += [Place(int(index), shapes) for index in members]
        places += [Place(None, shapes)] * (-len(members) % batch_size)
    return places


def ordered_batches(
    places: Sequence[Place],
    load: Callable[[Place], Mapping[str, Any]],
    *,
    batch_size: int,
    shard_index: int = 0,
    shard_count: int = 1,
) -> Iterator[Any]:
    """Yields what stands in some places, in batches.

    All parts have the same number of batches with the same shapes, as computations over all of them
    need; each reads its own images alone.

    Args:
        places: from `evaluation_order`.
        load: returns the entries of a batch for one place, without the batch axis; it is called in
            several threads.
        batch_size: places a batch, over all parts.
        shard_index: which part of each batch to yield.
        shard_count: how many parts a batch has.

    Raises:
        InputError: the batch does not divide by the parts; at once, not with the first batch.
    """
    local_batch_size = shard_size(batch_size, shard_count)
    threads = min(os.cpu_count() or 1, _MAX_THREADS)
    samples = grain.MapDataset.source(places[shard_index::shard_count]).map(load)
    return iter(
        samples.to_iter_dataset(grain.ReadOptions(threads, 2 * threads)).batch(local_batch_size)
    )
