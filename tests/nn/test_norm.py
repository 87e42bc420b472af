import jax.numpy as jnp
import numpy as np
from flax import nnx

from gcnet_jax.nn import BatchNorm


def test_training_normalises_with_the_biased_variance_and_records_the_unbiased_one():
    x = np.random.default_rng(0).normal(3.0, 2.0, (2, 3, 4, 5)).astype(np.float32)
    norm = BatchNorm(5, momentum=0.1, epsilon=1e-5, rngs=nnx.Rngs(0))
    norm.scale[...] = jnp.arange(1.0, 6.0)
    norm.bias[...] = jnp.arange(5.0)
    y = norm(x)

    pixels = x.reshape(-1, 5).astype(np.float64)
    normalized = (pixels - pixels.mean(0)) / np.sqrt(pixels.var(0) + 1e-5)
    expected = normalized * np.arange(1, 6) + np.arange(5)
    np.testing.assert_allclose(np.asarray(y).reshape(-1, 5), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(norm.mean[...], 0.1 * pixels.mean(0), rtol=1e-5)
    np.testing.assert_allclose(norm.var[...], 0.9 + 0.1 * pixels.var(0, ddof=1), rtol=1e-5)


def test_evaluation_uses_the_running_averages_and_leaves_them():
    norm = BatchNorm(2, rngs=nnx.Rngs(0))
    norm.mean[...], norm.var[...] = jnp.array([1.0, -1.0]), jnp.array([4.0, 9.0])
    norm.eval()
    y = norm(jnp.full((1, 3, 2), 5.0))
    np.testing.assert_allclose(y[0, 0], [4 / 2, 6 / 3], rtol=1e-5)
    np.testing.assert_array_equal(norm.mean[...], [1.0, -1.0])


def test_bfloat16_input_is_averaged_in_float32():
    # 256 + 1 is not a bfloat16 number: a sum in that precision would stop growing.
    x = jnp.concatenate([jnp.full((1, 4096, 1), 1.0), jnp.full((1, 4096, 1), 3.0)], axis=1)
    norm = BatchNorm(1, momentum=1.0, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    y = norm(x.astype(jnp.bfloat16))
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(norm.mean[...], [2.0], rtol=1e-6)
