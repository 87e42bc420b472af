import jax
import numpy as np
import pytest

from gcnet_jax.errors import InputError
from gcnet_jax.parallel import check_batch_size, create_mesh, shard_batch


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
