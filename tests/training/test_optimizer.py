import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gcnet_jax.tasks.segmentation.config import default_config
from gcnet_jax.training import create_optimizer, learning_rate_schedule


@pytest.fixture
def config():
    return default_config().optimizer


def poly_by_recursion(steps, base=0.01, final=1e-4, power=0.9):
    """The recursion of mmengine's PolyLR: each value is made from the one before it."""
    total, values = steps - 1, [base]
    for step in range(1, total + 1):
        factor = (1 - 1 / (total - step + 1)) ** power
        values.append((values[-1] - final) * factor + final)
    return np.array(values)


def test_the_schedule_is_polylr_and_ends_at_the_final_rate(config):
    schedule = learning_rate_schedule(config, 1000)
    values = np.array([schedule(jnp.asarray(step)) for step in range(0, 1000, 37)])
    np.testing.assert_allclose(values, poly_by_recursion(1000)[::37], atol=1e-9)
    np.testing.assert_allclose(schedule(999), 1e-4, atol=1e-9)


def test_compiled_rates_are_finite_and_end_at_the_final_rate_for_any_length(config):
    """1 - 499 * (1 / 499) is negative in float32, and a power of it would be NaN."""
    for steps in (2, 50, 500, 983, 1600, 40_000):
        schedule = jax.jit(learning_rate_schedule(config, steps))
        assert float(schedule(steps - 1)) == pytest.approx(1e-4, abs=1e-9), steps
        assert np.isfinite(float(schedule(steps + 5)))


def test_a_run_of_one_step_has_a_schedule(config):
    assert float(learning_rate_schedule(config, 1)(0)) == pytest.approx(0.01)


def test_updates_are_those_of_sgd_with_decay_before_momentum(config):
    steps, rates = 5, poly_by_recursion(5)
    rng = np.random.default_rng(0)
    params = {"kernel": rng.standard_normal((3, 2)), "bias": rng.standard_normal(2)}
    gradients = [{k: rng.standard_normal(v.shape) for k, v in params.items()} for _ in range(steps)]

    expected = {k: v.copy() for k, v in params.items()}
    velocity = {k: np.zeros_like(v) for k, v in params.items()}
    for rate, gradient in zip(rates, gradients, strict=True):
        for k in params:
            velocity[k] = 0.9 * velocity[k] + gradient[k] + 5e-4 * expected[k]
            expected[k] = expected[k] - rate * velocity[k]

    optimizer = create_optimizer(config, steps)
    state = optimizer.init(params)
    for gradient in gradients:
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    for k, value in params.items():
        np.testing.assert_allclose(value, expected[k], rtol=1e-5)
