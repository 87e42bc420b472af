"""Devices and hosts: the mesh, how arrays lie on it, programs for it, processes that share it."""

from gcnet_jax.parallel.compilation import (
    compile_for,
    on_each_device,
    on_own_images,
)
from gcnet_jax.parallel.gathering import gather_bytes
from gcnet_jax.parallel.host_memory import keep_freed_memory
from gcnet_jax.parallel.mesh import (
    DATA_AXIS,
    SPATIAL_AXIS,
    InputShard,
    check_batch_size,
    check_height,
    create_mesh,
    input_shard,
)
from gcnet_jax.parallel.placement import (
    batch_sharding,
    batch_shardings,
    over_all_devices,
    place,
    replicated,
    rows_here,
    shard_batch,
    split_largest_axis,
)
from gcnet_jax.parallel.processes import is_first_process, is_loss_of_partner, join_processes, meet

__all__ = [
    "DATA_AXIS",
    "SPATIAL_AXIS",
    "InputShard",
    "batch_sharding",
    "batch_shardings",
    "check_batch_size",
    "check_height",
    "compile_for",
    "create_mesh",
    "gather_bytes",
    "input_shard",
    "is_first_process",
    "is_loss_of_partner",
    "join_processes",
    "keep_freed_memory",
    "meet",
    "on_each_device",
    "on_own_images",
    "over_all_devices",
    "place",
    "replicated",
    "rows_here",
    "shard_batch",
    "split_largest_axis",
]
