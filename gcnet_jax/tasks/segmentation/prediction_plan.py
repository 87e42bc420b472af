"""The grouping of images of many sizes into batches, each of arrays of one shape."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Int
from ml_collections import ConfigDict

from gcnet_jax.data import group_into_buckets
from gcnet_jax.task import ArrayShapes
from gcnet_jax.tasks.segmentation.data import scaled_sizes

Size = tuple[int, int]
"""Height and width in pixels."""

ANY_SHAPES = ArrayShapes(multiple=32)
"""Arrays are multiples of it, so that similar sizes share a program."""
_IMAGES_A_PROGRAM = 16
"""To compile a network takes as long as this many images at least."""


@dataclasses.dataclass(frozen=True)
class Group:
    """Images that share the programs of a network.

    Attributes:
        members: the images, by whatever they are called.
        shapes: of the arrays that they lie in, at each scale.
        batch_size: how many go through the network together.
        devices: that a batch is split over.
    """

    members: list[int]
    shapes: list[Size]
    batch_size: int
    devices: int


def plan_groups(
    sizes: Mapping[int, Size],
    config: ConfigDict,
    *,
    multi_scale: bool,
    devices: int,
    pixels_at_once: int,
    max_groups: int,
    shapes: ArrayShapes = ANY_SHAPES,
) -> list[Group]:
    """Groups images such that few programs are compiled and little is padded, large ones first.

    Args:
        sizes: of each image.
        config: of the run.
        multi_scale: whether the network sees each image at `evaluation.scales`.
        devices: how many there are.
        pixels_at_once: about how many pixels of its input each device takes; one image at least.
        max_groups: most groups to make.
        shapes: that arrays may have; where these are few, each that is needed has a group.
    """
    names = list(sizes)
    arrays = np.array(
        [
            [
                shapes.for_image(x)
                for x in scaled_sizes(sizes[name], config, multi_scale=multi_scale)
            ]
            for name in names
        ]
    )
    max_groups = min(max_groups, -(-len(names) // _IMAGES_A_PROGRAM))
    groups = []
    for members in _of_each(arrays) if shapes.only else group_into_buckets(arrays, max_groups):
        largest = arrays[members].max(0)
        split_over = devices if len(members) >= devices else 1
        most = max(1, pixels_at_once // int(largest.prod(-1).max())) * split_over
        batches = -(-len(members) // most)
        batch_size = -(-len(members) // (batches * split_over)) * split_over
        groups.append(
            Group(
                [names[member] for member in members],
                [(height, width) for height, width in largest.tolist()],
                batch_size,
                split_over,
            )
        )
    return groups


def _of_each(arrays: Int[np.ndarray, "n scales 2"]) -> list[Int[np.ndarray, " _n"]]:
    """The members of a group for each kind of arrays that there is, large ones first."""
    kinds, of_each = np.unique(arrays, axis=0, return_inverse=True)
    return [np.flatnonzero(of_each == kind) for kind in reversed(range(len(kinds)))]
