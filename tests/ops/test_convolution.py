import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from gcnet_jax.ops import conv_general_dilated

NUMBERS = ("NHWC", "HWIO", "NHWC")


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [(1, 1, 0, 1), (1, 2, 0, 1), (1, 1, 2, 1), (3, 1, 1, 1), (3, 2, 1, 1), (3, 1, 4, 4)],
)
def test_values_and_gradients_are_those_of_lax(kernel, stride, padding, dilation):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((2, 9, 7, 5)), jnp.float32)
    w = jnp.asarray(rng.standard_normal((kernel, kernel, 5, 4)), jnp.float32)
    arguments = ((stride, stride), [(padding, padding)] * 2)
    options = {"rhs_dilation": (dilation, dilation), "dimension_numbers": NUMBERS}

    def loss(convolution):
        return lambda x, w: jnp.sum(jnp.sin(convolution(x, w, *arguments, **options)))

    value, grads = jax.value_and_grad(loss(conv_general_dilated), (0, 1))(x, w)
    expected, expected_grads = jax.value_and_grad(loss(lax.conv_general_dilated), (0, 1))(x, w)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    for grad, expected_grad in zip(grads, expected_grads, strict=True):
        np.testing.assert_allclose(grad, expected_grad, rtol=1e-4, atol=1e-5)


def test_a_pointwise_convolution_becomes_a_matrix_product():
    x, w = jnp.ones((1, 4, 4, 3)), jnp.ones((1, 1, 3, 2))
    text = str(jax.make_jaxpr(lambda x, w: conv_general_dilated(x, w, (1, 1), [(0, 0)] * 2))(x, w))
    assert "dot_general" in text
    assert "conv_general_dilated" not in text
