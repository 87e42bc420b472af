import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType

from gcnet_jax.parallel import (
    batch_sharding,
    compile_for,
    create_mesh,
    on_each_device,
    replicated,
    shard_batch,
)


@pytest.mark.parametrize("devices", [None, 1, 4])
def test_barriers_stay_in_programs(devices):
    """So that what they keep apart is computed apart.

    Without `compile_for`, jax 0.10.2 computes one sine, and 0.12.0.1 two without a barrier.
    """
    mesh = None if devices is None else create_mesh(jax.devices()[:devices])

    def twice(x):
        return jnp.sin(x) + jnp.sin(lax.optimization_barrier(x))

    x = np.ones((4, 8), np.float32)
    if mesh is not None:
        x = jax.device_put(x, batch_sharding(mesh))
    program = compile_for(mesh, twice).lower(x).compile().as_text()
    assert program.count(" sine(") == 2
    assert program.count(" opt-barrier(") == 1


def test_functions_find_the_mesh_that_they_are_compiled_for():
    mesh, found = create_mesh(spatial=2), []

    def look(x):
        found.append(dict(jax.sharding.get_abstract_mesh().shape))
        return x

    compile_for(mesh, look)(jnp.zeros(8))
    compile_for(None, look)(jnp.zeros(8))
    assert found == [{"data": 4, "spatial": 2}, {}]


def test_each_device_runs_a_function_on_its_own_images_alone():
    mesh, shapes = create_mesh(jax.devices()[:4]), []

    def centred(scale, images):
        axes = jax.sharding.get_abstract_mesh().axis_types
        shapes.append((images.shape, set(axes)))
        total = lax.fori_loop(0, len(images), lambda i, x: x + images[i].sum(), jnp.zeros(()))
        return scale * (images - total / images.size)  # a mean over all images would be another

    scale = jax.device_put(np.float32(2), replicated(mesh))
    images = np.random.default_rng(0).normal(size=(8, 3, 3)).astype(np.float32)
    run = compile_for(mesh, on_each_device(mesh, centred))
    result = run(scale, shard_batch(images, mesh))
    assert shapes == [((2, 3, 3), {AxisType.Manual})]
    assert result.sharding.is_equivalent_to(batch_sharding(mesh), 3)
    pairs = images.reshape(4, 2, 3, 3)
    expected = 2 * (pairs - pairs.mean((1, 2, 3), keepdims=True))
    np.testing.assert_allclose(result, expected.reshape(8, 3, 3), atol=1e-6)
