"""The mesh, and how arrays lie on it.

Model code knows nothing of devices: batches are split over the mesh, state is replicated, and XLA
places the collectives (gradients, batch statistics) when the step is compiled for those shardings.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from gcnet_jax.errors import InputError

DATA_AXIS = "data"


def create_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh of all devices (of all hosts), along the one axis that batches are split over."""
    return Mesh(np.asarray(devices if devices is not None else jax.devices()), (DATA_AXIS,))


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The leading axis split over all devices."""
    return NamedSharding(mesh, PartitionSpec(DATA_AXIS))


def shard_batch(batch: PyTree, mesh: Mesh) -> PyTree:
    """Puts this process's part of a batch onto its devices; returns global arrays.

    The transfer runs in the background; nothing waits for it here.
    """
    sharding = batch_sharding(mesh)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def check_batch_size(batch_size: int, mesh: Mesh, *, parts: int = 1, key: str) -> None:
    """Raises InputError unless a batch splits evenly over the devices, `parts` times over.

    Args:
        batch_size: over all devices.
        mesh: the devices.
        parts: pieces that the batch is worked through in, one after another.
        key: the config key that `batch_size` comes from, for the message.
    """
    devices = mesh.size
    if batch_size < 1 or batch_size % (devices * parts):
        pieces = f" in {parts} accumulation steps" if parts > 1 else ""
        raise InputError(
            f"{key} is {batch_size}, which does not divide evenly over {devices} devices{pieces}; "
            f"use a multiple of {devices * parts}"
        )
