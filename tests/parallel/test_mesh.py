import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gcnet_jax.errors import InputError
from gcnet_jax.parallel import (
    InputShard,
    check_batch_size,
    check_height,
    create_mesh,
    input_shard,
    place,
    replicated,
    shard_batch,
    split_largest_axis,
)


def parts_of(array):
    """What each device holds, in the order of the devices."""
    return [shard.data.tolist() for shard in array.addressable_shards]


def test_a_batch_lies_split_over_the_devices_in_order():
    batch = shard_batch({"x": np.arange(8)}, create_mesh(jax.devices()[:4]))["x"]
    assert parts_of(batch) == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_neighbours_along_spatial_hold_the_rows_of_the_same_images():
    mesh = create_mesh(jax.devices()[:4], spatial=2)
    images = np.arange(8).reshape(2, 4, 1)
    batch = shard_batch({"image": images, "size": np.array([[4, 1], [3, 1]])}, mesh, ["image"])
    assert parts_of(batch["image"]) == [[[[0], [1]]], [[[2], [3]]], [[[4], [5]]], [[[6], [7]]]]
    assert parts_of(batch["size"]) == [[[4, 1]], [[4, 1]], [[3, 1]], [[3, 1]]]


@dataclasses.dataclass(frozen=True)
class Device:
    process_index: int
    id: int


def devices_of(*processes):
    return [
        Device(process, 10 * process + i) for process, n in enumerate(processes) for i in range(n)
    ]


def test_devices_of_a_host_are_neighbours_whatever_their_order():
    shuffled = np.random.default_rng(0).permutation(np.array(devices_of(4, 4), object))
    mesh = create_mesh(list(shuffled), spatial=2)
    assert mesh.shape == {"data": 4, "spatial": 2}
    assert [[d.process_index for d in row] for row in mesh.devices] == [
        [0, 0],
        [0, 0],
        [1, 1],
        [1, 1],
    ]


@pytest.mark.parametrize(
    ("processes", "spatial", "shards"),
    [
        ((4, 4), 1, [(0, 2), (1, 2)]),
        ((4, 4), 2, [(0, 2), (1, 2)]),
        ((4, 4), 8, [(0, 1), (0, 1)]),
        ((1, 1, 1, 1), 2, [(0, 2), (0, 2), (1, 2), (1, 2)]),
        ((2, 2, 2), 2, [(0, 3), (1, 3), (2, 3)]),
    ],
)
def test_processes_that_share_images_read_the_same_ones(monkeypatch, processes, spatial, shards):
    mesh = create_mesh(devices_of(*processes), spatial=spatial)
    found = []
    for process in range(len(processes)):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        found.append(input_shard(mesh))
    assert found == [InputShard(*shard) for shard in shards]


@pytest.mark.parametrize(("processes", "spatial"), [((8,), 3), ((8,), 16), ((8,), 0), ((6, 6), 4)])
def test_devices_that_cannot_form_equal_groups_are_refused(processes, spatial):
    with pytest.raises(InputError, match=f"parallel.spatial is {spatial}; expected a divisor"):
        create_mesh(devices_of(*processes), spatial=spatial)


@pytest.mark.parametrize(("batch_size", "parts"), [(6, 1), (0, 1), (4, 2), (12, 2)])
def test_a_batch_that_does_not_divide_is_refused_with_what_would(batch_size, parts):
    mesh = create_mesh(spatial=2)
    with pytest.raises(
        InputError,
        match=rf"training.batch_size is {batch_size}.*4 groups of 2 devices.*of {4 * parts}",
    ):
        check_batch_size(batch_size, mesh, parts=parts, key="training.batch_size")


def test_a_batch_that_divides_is_accepted():
    check_batch_size(16, create_mesh(), parts=2, key="training.batch_size")
    check_batch_size(3, create_mesh(jax.devices()[:1]), key="evaluation.batch_size")
    check_batch_size(2, create_mesh(spatial=4), key="evaluation.batch_size")


def test_a_height_must_split_at_every_stride():
    check_height(512, 8, create_mesh(spatial=4), key="data.crop_size")
    check_height(769, 8, create_mesh(), key="data.crop_size")
    with pytest.raises(InputError, match=r"data.crop_size has the height 120.*multiple of 64"):
        check_height(120, 8, create_mesh(spatial=8), key="data.crop_size")


def test_large_arrays_are_spread_along_their_largest_axis_that_divides():
    mesh = create_mesh(spatial=2)
    shapes = {
        "kernel": jnp.zeros((3, 3, 64, 128)),
        "odd": jnp.zeros((129, 127, 2)),
        "tall": jnp.zeros((4097 * 8, 3)),
        "small": jnp.zeros((64,)),
    }
    placed = jax.device_put(shapes, split_largest_axis(shapes, mesh))
    held = {name: array.addressable_shards[0].data.shape for name, array in placed.items()}
    assert held == {
        "kernel": (3, 3, 64, 16),
        "odd": (129, 127, 2),
        "tall": (4097, 3),
        "small": (64,),
    }


def test_arrays_are_placed_as_their_shardings_say_and_keep_their_values():
    mesh = create_mesh()
    arrays = {"large": np.arange(2**15).reshape(2, -1), "small": jax.numpy.float32(3)}
    placed = place(arrays, split_largest_axis(arrays, mesh))
    assert placed["large"].addressable_shards[0].data.shape == (2, 2**14 // mesh.size)
    assert placed["small"].sharding == replicated(mesh)
    for name, array in arrays.items():
        np.testing.assert_array_equal(placed[name], array)
