"""Operators in the form that is fused: the same numbers, and convolutions where there can be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from gcnet_jax.export.folding import folded
from gcnet_jax.export.onnx_fusion import maximum_as_relu, product_as_convolution

REWRITTEN = {"dot_general": product_as_convolution, "max": maximum_as_relu}


def _operators(function, *arrays):
    """The names of a function's operators after the rewriting, and its result."""
    (shape, *others), (first, *rest) = arrays, arrays
    del shape, others
    run = folded(lambda x: function(x, *rest), first, rewritten=REWRITTEN)
    names = {x.primitive.name for x in jax.make_jaxpr(run)(first).eqns}
    return names, run(first)[0]


def _random(*shape):
    return jnp.asarray(np.random.default_rng(len(shape)).standard_normal(shape), jnp.float32)


@pytest.mark.parametrize(
    ("equation", "left", "right", "convolution"),
    [
        ("bhwc,cd->bhwd", (2, 3, 4, 5), (5, 6), True),
        ("bhwc,wd->bhcd", (2, 3, 4, 5), (4, 6), False),
        ("bhwc,dc->bhwd", (2, 3, 4, 5), (6, 5), False),
        ("bwc,cd->bwd", (2, 4, 5), (5, 6), False),
        ("bnc,bnd->bcd", (2, 4, 5), (2, 4, 6), False),
    ],
)
def test_products_of_features_and_a_kernel_are_convolutions(equation, left, right, convolution):
    def product(x, y):
        return jnp.einsum(equation, x, y)

    x, y = _random(*left), _random(*right)
    names, found = _operators(product, x, y)
    assert ("conv_general_dilated" in names) == convolution
    assert ("dot_general" in names) != convolution
    np.testing.assert_allclose(found, product(x, y), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("other", "relu"),
    [(np.float32(0), True), (np.float32(0.5), False), (np.zeros(5, np.float32), False)],
)
def test_the_larger_of_features_and_zero_is_relu(other, relu):
    x = _random(2, 5)
    _, found = _operators(lambda x: lax.max(x, jnp.broadcast_to(other, x.shape)), x)
    np.testing.assert_array_equal(found, np.maximum(x, other))
    names, found = _operators(lambda x: jnp.maximum(x, other), x)
    np.testing.assert_array_equal(found, np.maximum(x, other))
    assert ("max" not in names) == relu
