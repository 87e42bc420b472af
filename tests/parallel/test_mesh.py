import jax
import numpy as np
import pytest

from gcnet_jax.errors import InputError
from gcnet_jax.parallel import (
    check_batch_size,
    create_mesh,
    place,
    replicated,
    shard_batch,
    split_largest_axis,
)


def test_a_batch_lies_split_over_the_devices_in_order():
    mesh = create_mesh()
    batch = shard_batch({"x": np.arange(8)}, mesh)["x"]
    shards = sorted(batch.addressable_shards, key=lambda shard: shard.index[0].start)
    assert [shard.data.tolist() for shard in shards] == [[0, 1], [2, 3], [4, 5], [6, 7]]


@pytest.mark.parametrize(("batch_size", "parts"), [(6, 1), (0, 1), (4, 2), (12, 2)])
def test_a_batch_that_does_not_divide_is_refused_with_what_would(batch_size, parts):
    with pytest.raises(InputError, match=rf"training.batch_size is {batch_size}.*of {4 * parts}"):
        check_batch_size(batch_size, create_mesh(), parts=parts, key="training.batch_size")


def test_a_batch_that_divides_is_accepted():
    check_batch_size(16, create_mesh(), parts=2, key="training.batch_size")
    check_batch_size(3, create_mesh(jax.devices()[:1]), key="evaluation.batch_size")


def test_arrays_are_placed_as_their_shardings_say_and_keep_their_values():
    mesh = create_mesh()
    arrays = {"large": np.arange(2**15).reshape(2, -1), "small": jax.numpy.float32(3)}
    placed = place(arrays, split_largest_axis(arrays, mesh))
    assert placed["large"].addressable_shards[0].data.shape == (2, 2**14 // mesh.size)
    assert placed["small"].sharding == replicated(mesh)
    for name, array in arrays.items():
        np.testing.assert_array_equal(placed[name], array)
