"""The mesh of devices, and what splits over it.

Model code knows nothing of devices: batches are split over the mesh, and XLA places the collectives
(gradients, batch statistics, the rows that a convolution needs of its neighbours) when a function
is compiled for those shardings.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from gcnet_jax.errors import InputError

DATA_AXIS = "data"
"""The axis of the mesh that the images of a batch are split over."""
SPATIAL_AXIS = "spatial"
"""The axis that the rows of each image are split over."""


def create_mesh(devices: Sequence[Any] | None = None, *, spatial: int = 1) -> Mesh:
    """A mesh of all devices (of all hosts) with the axes `data` and `spatial`.

    Devices of one host are neighbours, so that the parts of an image stay on one host if it has
    enough of them.

    Args:
        devices: by default all there are.
        spatial: devices that each image is split over, by its height.

    Raises:
        InputError: the devices do not divide by `spatial`, or groups of that size would lie across
            hosts unevenly.
    """
    given = devices if devices is not None else jax.devices()
    ordered = sorted(given, key=lambda device: (device.process_index, device.id))
    if spatial < 1 or len(ordered) % spatial:
        raise InputError(
            f"parallel.spatial is {spatial}; expected a divisor of the {len(ordered)} devices"
        )
    a_host = sum(d.process_index == ordered[0].process_index for d in ordered)
    if a_host % spatial and spatial % a_host:
        raise InputError(
            f"parallel.spatial is {spatial}; expected a divisor or a multiple of the {a_host} "
            "devices that each process has"
        )
    return Mesh(np.asarray(ordered).reshape(-1, spatial), (DATA_AXIS, SPATIAL_AXIS))


@dataclasses.dataclass(frozen=True)
class InputShard:
    """The part of every batch that a process reads.

    Attributes:
        index: of the part.
        count: how many parts there are. Fewer than processes, if several share each image.
    """

    index: int
    count: int


def input_shard(mesh: Mesh) -> InputShard:
    """The part of every batch that this process reads: that of its devices along `data`."""
    process = jax.process_index()
    rows = [any(device.process_index == process for device in row) for row in mesh.devices]
    return InputShard(rows.index(True) // sum(rows), len(rows) // sum(rows))


def check_batch_size(batch_size: int, mesh: Mesh, *, parts: int = 1, key: str) -> None:
    """Raises InputError unless a batch splits evenly over the devices, `parts` times over.

    Args:
        batch_size: over all devices.
        mesh: the devices.
        parts: pieces that the batch is worked through in, one after another.
        key: the config key that `batch_size` comes from, for the message.
    """
    devices, spatial = mesh.shape[DATA_AXIS], mesh.shape[SPATIAL_AXIS]
    if batch_size < 1 or batch_size % (devices * parts):
        over = f"{devices} devices" if spatial == 1 else f"{devices} groups of {spatial} devices"
        pieces = f" in {parts} accumulation steps" if parts > 1 else ""
        raise InputError(
            f"{key} is {batch_size}, which does not divide evenly over {over}{pieces}; "
            f"use a multiple of {devices * parts}"
        )


def check_height(height: int, stride: int, mesh: Mesh, *, key: str) -> None:
    """Raises InputError unless images split evenly over `spatial`, features of every stride too.

    XLA would take other heights as well, but not reliably: with 15 rows of features over 8 devices
    it returned other batch statistics than one device.

    Args:
        height: of the images, in pixels.
        stride: of the network, pixels to a row of its smallest features.
        mesh: the devices.
        key: the config key that `height` comes from, for the message.
    """
    spatial = mesh.shape[SPATIAL_AXIS]
    if spatial > 1 and height % (spatial * stride):
        raise InputError(
            f"{key} has the height {height}, which does not split over {spatial} devices "
            f"(parallel.spatial) at output stride {stride}; use a multiple of {spatial * stride}"
        )
