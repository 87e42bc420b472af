import jax
import jax.numpy as jnp
import numpy as np
import pytest
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


def plain_normalisation(x, scale, bias):
    mean, variance = x.mean((0, 1)), x.var((0, 1))
    return (x - mean) / jnp.sqrt(variance + 1e-5) * scale + bias


def gradient(function):
    return jax.grad(function, (0, 1, 2))


def forward(function):
    return lambda *arguments: jax.jvp(function, arguments, arguments)[1]


def second(function):
    return gradient(lambda *arguments: jnp.sum(jax.grad(function)(*arguments) ** 2))


@pytest.mark.parametrize("derivative", [gradient, forward, second])
def test_derivatives_of_training_are_those_of_the_formula(derivative):
    rng = np.random.default_rng(0)
    x, weights = (jnp.asarray(rng.normal(2.0, 3.0, (4, 5, 3)), jnp.float32) for _ in range(2))
    graphdef, state = nnx.split(BatchNorm(3, rngs=nnx.Rngs(0)))

    def ours(x, scale, bias):
        norm = nnx.merge(graphdef, state, copy=True)
        norm.scale[...], norm.bias[...] = scale, bias
        return norm(x)

    def of_loss(function):
        loss = derivative(lambda *arguments: jnp.sum(weights * jnp.sin(function(*arguments))))
        return jax.tree.leaves(loss(x, jnp.array([0.5, 1.0, -2.0]), jnp.array([0.0, 3.0, -1.0])))

    for actual, expected in zip(of_loss(ours), of_loss(plain_normalisation), strict=True):
        largest = float(np.abs(expected).max())
        np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4 * largest)


def test_the_gradient_takes_two_sums_over_all_positions():
    # Each more is a pass over all features: on a GPU that is what normalisation costs.
    norm = BatchNorm(3, rngs=nnx.Rngs(0))
    graphdef, state = nnx.split(norm)
    x = jnp.ones((4, 5, 3))
    _, pullback = jax.vjp(lambda x, state: nnx.merge(graphdef, state, copy=True)(x), x, state)
    equations = jax.make_jaxpr(pullback)(x).jaxpr.eqns
    sums = [e for e in equations if e.primitive.name == "reduce_sum"]
    assert len([e for e in sums if e.invars[0].aval.shape == x.shape]) == 2


def test_a_mean_that_is_large_beside_the_deviation_costs_no_digits_once_it_is_known():
    x = np.random.default_rng(0).normal(1000.0, 0.1, (4096, 1)).astype(np.float32)
    norm = BatchNorm(1, momentum=1.0, rngs=nnx.Rngs(0))
    norm(x)
    norm(x)
    np.testing.assert_allclose(norm.var[...], x.astype(np.float64).var(0, ddof=1), rtol=1e-3)


def test_constant_features_have_no_variance():
    norm = BatchNorm(1, momentum=1.0, rngs=nnx.Rngs(0))
    y = norm(jnp.full((64, 1), 0.7))
    assert 0 <= norm.var[0] < 1e-6
    np.testing.assert_allclose(y, 0, atol=1e-3)


def test_of_images_that_lie_padded_the_statistics_are_of_the_images_alone():
    rng = np.random.default_rng(0)
    x = rng.normal(3.0, 2.0, (2, 4, 5, 3)).astype(np.float32)
    mask = np.zeros((2, 4, 5), bool)
    mask[0, :3, :5], mask[1, :4, :2] = True, True
    inside = x[mask]
    padded = np.where(mask[..., None], x, np.float32(7.0))  # whatever lies outside
    alone, among = BatchNorm(3, rngs=nnx.Rngs(0)), BatchNorm(3, rngs=nnx.Rngs(0))
    expected, y = alone(inside), among(padded, mask)
    np.testing.assert_allclose(np.asarray(y)[mask], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(among.mean[...], alone.mean[...], rtol=1e-5)
    np.testing.assert_allclose(among.var[...], alone.var[...], rtol=1e-5)


def test_a_mask_that_is_true_nowhere_leaves_numbers():
    norm = BatchNorm(3, rngs=nnx.Rngs(0))
    y = norm(np.ones((1, 4, 3), np.float32), np.zeros((1, 4), bool))
    assert np.isfinite(y).all()
    assert np.isfinite(norm.var[...]).all()


def test_what_is_frozen_computes_in_training_as_in_evaluation():
    x = np.random.default_rng(0).normal(3.0, 2.0, (2, 4, 3)).astype(np.float32)
    norm = BatchNorm(3, rngs=nnx.Rngs(0))
    norm.mean[...], norm.var[...] = jnp.array([1.0, 2.0, 3.0]), jnp.array([4.0, 9.0, 1.0])
    norm.eval()
    expected = norm(x)
    norm.train()
    norm.frozen = True
    np.testing.assert_array_equal(norm(x), expected)
    np.testing.assert_array_equal(norm.mean[...], [1.0, 2.0, 3.0])
