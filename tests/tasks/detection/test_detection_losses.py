import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gcnet_jax.tasks.detection import losses

EXTREMES = np.array([-1e5, -80.0, 0.0, 80.0, 1e5], np.float32)


def value_and_gradient(function, x):
    return function(x), jax.grad(lambda x: jnp.sum(function(x)))(x)


@pytest.mark.parametrize("target", [0.0, 1.0])
def test_binary_cross_entropy_stays_finite_at_extremes(target):
    value, gradient = value_and_gradient(
        lambda x: losses.binary_cross_entropy(x, jnp.full(5, target)), EXTREMES
    )
    signs = EXTREMES if target == 0 else -EXTREMES
    expected = np.where(signs > 0, signs, 0) + np.where(EXTREMES == 0, np.log(2), 0)
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
    probabilities = np.array([0, 0, 0.5, 1, 1])
    np.testing.assert_allclose(gradient, probabilities - target, atol=1e-6)


def test_cross_entropy_stays_finite_at_extremes():
    logits = np.stack([EXTREMES, -EXTREMES], axis=-1)
    value, gradient = value_and_gradient(
        lambda x: losses.cross_entropy(x, jnp.zeros(5, int)), logits
    )
    expected = [2e5, 160, np.log(2), 0, 0]
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
    assert np.isfinite(gradient).all()


def test_labels_of_padding_count_nothing_and_no_class_is_not_a_number():
    logits = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    labels = np.array([-1, 3, 4])
    value = losses.cross_entropy(logits, labels)
    assert value[0] == 0
    assert value[1] > 0
    assert np.isnan(value[2])
    _, gradient = value_and_gradient(lambda x: losses.cross_entropy(x, labels), logits)
    assert (gradient[0] == 0).all()


def test_the_gradient_of_equal_boxes_is_zero():
    boxes = np.ones((2, 4), np.float32)
    for function in (losses.absolute, lambda x, t: losses.smooth_absolute(x, t, beta=1 / 9)):
        _, gradient = value_and_gradient(lambda x, f=function: f(x, boxes), boxes)
        assert (gradient == 0).all()


def test_the_smooth_loss_goes_over_into_the_absolute_one_without_a_step():
    beta, near = 1 / 9, 1e-6
    x = np.float32([beta - near, beta + near, -beta, 3.0])
    value, gradient = value_and_gradient(
        lambda x: losses.smooth_absolute(x, jnp.zeros(4), beta=beta), x
    )
    np.testing.assert_allclose(value, [beta / 2, beta / 2, beta / 2, 3 - beta / 2], rtol=1e-4)
    np.testing.assert_allclose(gradient, [1, 1, -1, 1], rtol=1e-4)
