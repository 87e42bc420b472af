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
    on_own_images,
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


def test_a_part_of_a_program_runs_on_each_devices_own_images_where_there_is_a_mesh():
    images, found = np.arange(8.0, dtype=np.float32), []

    def doubled_until_ten(images):
        """As often as the smallest image of those that are looked at together needs it."""
        found.append(len(images))
        return lax.while_loop(lambda x: x.min() < 10, lambda x: 2 * x, images + 1)

    def program(images):
        return {"x": on_own_images(doubled_until_ten)(images) + images.sum()}

    def gradient(images):
        return jax.grad(lambda x: on_own_images(jnp.square)(x).sum())(images)

    for devices in (None, 1, 4):
        mesh = None if devices is None else create_mesh(jax.devices()[:devices])
        given = images if mesh is None else shard_batch(images, mesh)
        parts = (images + 1).reshape(devices or 1, -1)
        doublings = np.ceil(np.log2(10 / parts.min(1)))
        expected = (parts * 2 ** doublings[:, None]).reshape(-1) + images.sum()
        np.testing.assert_allclose(compile_for(mesh, program)(given)["x"], expected)
        np.testing.assert_allclose(compile_for(mesh, gradient)(given), 2 * images)
    assert found == [8, 8, 2]

    mesh = create_mesh(jax.devices()[:4])
    inside = on_each_device(mesh, lambda _, x: on_own_images(doubled_until_ten)(x))
    compile_for(mesh, inside)(0.0, shard_batch(images, mesh))
    assert found[-1] == 2
