"""How functions of arrays on a mesh become programs."""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, PartitionSpec

from gcnet_jax.parallel.mesh import DATA_AXIS


def compile_for(
    mesh: Mesh | None, function: Callable[..., Any], **options: Any
) -> jax.stages.Wrapped:
    """`jax.jit`, with what the library's functions need to be compiled well.

    - Operators that choose by whether XLA will split them over devices find the mesh in the
      context (`jax.sharding.get_abstract_mesh`).
    - XLA for CPUs keeps optimization barriers. Left to itself that of jax 0.10.2 takes them away
      first of all, and then merges what they kept apart, which undoes rematerialisation, or
      computes again what they had it compute once. That of jax 0.12.0.1, and other backends, keep
      barriers for as long as they optimise.

    Args:
        mesh: where the arrays lie; None for those of one device.
        function: to compile, on first use.
        options: of `jax.jit`.
    """

    @functools.wraps(function)
    def on_mesh(*arguments: Any) -> Any:
        if mesh is None:
            return function(*arguments)
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return function(*arguments)

    platform = jax.default_backend() if mesh is None else mesh.devices.flat[0].platform
    keep_barriers = {"xla_disable_hlo_passes": "cse_barrier_expander"} if platform == "cpu" else {}
    return jax.jit(on_mesh, compiler_options=keep_barriers, **options)


def on_each_device(mesh: Mesh, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of variables and batches that every device runs on its own images alone.

    For what no image shares with another and no device with another: XLA need not find out, and
    operators take the way of a single device.

    Args:
        mesh: the devices; images are whole on each.
        function: takes variables, of which each device has a copy, and arrays whose leading axis is
            split over `data`, to arrays of that kind.
    """

    @functools.wraps(function)  # profiles name programs by it
    def run(variables: Any, *batch: Any) -> Any:
        split = PartitionSpec(DATA_AXIS)
        specs = (PartitionSpec(), *(split for _ in batch))
        # Unchecked, for a user's block may loop over what begins as zeros, the same on all devices.
        on_own = jax.shard_map(
            function, mesh=mesh, in_specs=specs, out_specs=split, check_vma=False
        )
        return on_own(variables, *batch)

    return run


def on_own_images(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of batches alone, which every device runs on its own images.

    For parts of a program that XLA would split badly: loops whose length the images decide, which
    devices would agree on in each round, and indices into a batch, for which they would gather it.
    It finds the mesh in the context, see `compile_for`; where there is none, or one device, or each
    device has its own images already, it is the function itself.

    Args:
        function: takes arrays whose leading axis is split over `data`, in trees of any kind, to
            arrays of that kind. It closes over no array.
    """

    @functools.wraps(function)
    def run(*batch: Any) -> Any:
        mesh = jax.sharding.get_abstract_mesh()
        kind = dict(zip(mesh.axis_names, mesh.axis_types, strict=True)).get(DATA_AXIS)
        if kind in (None, AxisType.Manual) or mesh.shape[DATA_AXIS] == 1:
            return function(*batch)
        split = PartitionSpec(DATA_AXIS)
        # Unchecked, for loops begin with zeros, the same on all devices.
        return jax.shard_map(function, in_specs=split, out_specs=split, check_vma=False)(*batch)

    return run
