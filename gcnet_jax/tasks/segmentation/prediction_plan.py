"""The grouping of images of many sizes into batches, each of arrays of one shape."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from ml_collections import ConfigDict

from gcnet_jax.data import group_into_buckets
from gcnet_jax.tasks.segmentation.data import scaled_sizes

Size = tuple[int, int]
"""Height and width in pixels."""

_STEP = 32
"""Arrays are a multiple of it, so that similar sizes share a program."""
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
) -> list[Group]:
    """Groups images such that few programs are compiled and little is padded, large ones first.

    Args:
        sizes: of each image.
        config: of the run.
        multi_scale: whether the network sees each image at `evaluation.scales`.
        devices: how many there are.
        pixels_at_once: about how many pixels of its input each device takes; one image at least.
        max_groups: most groups to make.
    """
    names = list(sizes)
    scaled = np.array(
        [scaled_sizes(sizes[name], config, multi_scale=multi_scale) for name in names]
    )
    scaled = -(-scaled // _STEP) * _STEP
    max_groups = min(max_groups, -(-len(names) // _IMAGES_A_PROGRAM))
    groups = []
    for members in group_into_buckets(scaled, max_groups):
        shapes = scaled[members].max(0)
        split_over = devices if len(members) >= devices else 1
        most = max(1, pixels_at_once // int(shapes.prod(-1).max())) * split_over
        batches = -(-len(members) // most)
        batch_size = -(-len(members) // (batches * split_over)) * split_over
        groups.append(
            Group(
                [names[member] for member in members],
                [(height, width) for height, width in shapes.tolist()],
                batch_size,
                split_over,
            )
        )
    return groups
