"""How arrays lie on the mesh, and how they come there and back."""

from collections.abc import Collection
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree, Shaped

from gcnet_jax.parallel.mesh import DATA_AXIS, SPATIAL_AXIS, input_shard

_SMALLEST_SPLIT = 2**14
"""Elements of an array below which a copy on every device costs less than gathering the parts."""


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
    """This process's rows of an array whose leading axis is split, in order."""
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
