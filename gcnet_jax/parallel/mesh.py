"""The mesh, and how arrays lie on it.

Model code knows nothing of devices: batches are split over the mesh, and XLA places the collectives
(gradients, batch statistics, the rows that a convolution needs of its neighbours) when a function
is compiled for those shardings.
"""

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree, Shaped

from gcnet_jax.errors import InputError

DATA_AXIS = "data"
"""The axis of the mesh that the images of a batch are split over."""
SPATIAL_AXIS = "spatial"
"""The axis that the rows of each image are split over."""

_SMALLEST_SPLIT = 2**14
"""Elements of an array below which a copy on every device costs less than gathering the parts."""


# Devices -----------------------------------------------------------------------------------------


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


# Arrays ------------------------------------------------------------------------------------------


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh, *, of_images: bool = False) -> NamedSharding:
    """The leading axis split over `data`, and of images also the height over `spatial`.

    Args:
        mesh: the devices.
        of_images: whether the second axis is a height.
    """
    spec = PartitionSpec(DATA_AXIS, SPATIAL_AXIS) if of_images else PartitionSpec(DATA_AXIS)
    return NamedSharding(mesh, spec)


def batch_shardings(batch: PyTree, mesh: Mesh, image_keys: Collection[str]) -> PyTree:
    """How each array of a batch lies on the mesh, as a tree of the same structure.

    Args:
        batch: nested dicts and lists of arrays, or of their shapes.
        mesh: the devices.
        image_keys: the keys of arrays that are images, or are split as these are: their second axis
            is a height.
    """

    def sharding(path: tuple[Any, ...], _: Any) -> NamedSharding:
        key = getattr(path[-1], "key", None) if path else None
        return batch_sharding(mesh, of_images=key in image_keys)

    return jax.tree.map_with_path(sharding, batch)


def over_all_devices(mesh: Mesh) -> NamedSharding:
    """The leading axis split over both axes of the mesh."""
    return NamedSharding(mesh, PartitionSpec((DATA_AXIS, SPATIAL_AXIS)))


def shard_batch(batch: PyTree, mesh: Mesh, image_keys: Collection[str] = ()) -> PyTree:
    """Puts this process's part of a batch onto its devices; returns global arrays.

    The transfer runs in the background; nothing waits for it here.

    Args:
        batch: nested dicts and lists of arrays, of whole examples: those of `input_shard(mesh)`.
        mesh: the devices.
        image_keys: which arrays are images, see `batch_shardings`.
    """
    parts = input_shard(mesh).count

    def place(x: Any, sharding: NamedSharding) -> jax.Array:
        shape = (x.shape[0] * parts, *x.shape[1:])
        return jax.make_array_from_process_local_data(sharding, x, shape)

    return jax.tree.map(place, batch, batch_shardings(batch, mesh, image_keys))


def rows_here(array: Shaped[Array, "b *rest"]) -> Shaped[np.ndarray, "part *rest"]:
    """This process's rows of an array whose leading axis is split, in the order of its part."""
    rows = {shard.index[0].start or 0: shard.data for shard in array.addressable_shards}
    return np.concatenate([np.asarray(rows[start]) for start in sorted(rows)])


def place(tree: PyTree, shardings: PyTree) -> PyTree:
    """Puts arrays that every process has alike onto a mesh; each takes its part of them.

    `jax.device_put` would first gather every array from all processes, to compare them.

    Args:
        tree: whole arrays.
        shardings: how each is to lie, a tree of the same structure.
    """

    def put(x: Any, sharding: NamedSharding) -> jax.Array:
        whole = np.asarray(x)
        return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])

    return jax.tree.map(put, tree, shardings)


def split_largest_axis(tree: PyTree, mesh: Mesh) -> PyTree:
    """Shardings that spread every large array over all devices along its largest axis.

    What is small, or does not divide evenly, is replicated. Source: Rajbhandari et al., "ZeRO"
    (2020), stage 3; PyTorch calls it fully sharded data parallel.

    Args:
        tree: arrays, or their shapes.
        mesh: the devices.
    """

    def sharding(x: Any) -> NamedSharding:
        axes = [axis for axis, size in enumerate(x.shape) if size % mesh.size == 0]
        if x.size < _SMALLEST_SPLIT or not axes:
            return replicated(mesh)
        largest = max(axes, key=lambda axis: x.shape[axis])
        spec = [(DATA_AXIS, SPATIAL_AXIS) if axis == largest else None for axis in range(x.ndim)]
        return NamedSharding(mesh, PartitionSpec(*spec))

    return jax.tree.map(sharding, tree)
