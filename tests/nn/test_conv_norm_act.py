import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from gcnet_jax.nn import ConvNormAct


def with_statistics(dtype=jnp.float32, **options):
    layer = ConvNormAct(6, 5, 3, dtype=dtype, rngs=nnx.Rngs(0), **options)
    rng = np.random.default_rng(0)
    layer.norm.mean[...] = jnp.asarray(rng.normal(size=5), jnp.float32)
    layer.norm.var[...] = jnp.asarray(rng.uniform(0.5, 2.0, 5), jnp.float32)
    layer.norm.scale[...] = jnp.asarray(rng.normal(size=5), jnp.float32)
    layer.norm.bias[...] = jnp.asarray(rng.normal(size=5), jnp.float32)
    layer.eval()
    return layer, jnp.asarray(rng.standard_normal((2, 9, 8, 6)), dtype)


@pytest.mark.parametrize("options", [{"stride": 2}, {"dilation": 2, "activate": False}])
def test_evaluation_normalises_what_the_convolution_gives(options):
    layer, x = with_statistics(**options)
    expected = layer.norm(layer.conv(x))
    expected = jax.nn.relu(expected) if layer.activate else expected
    np.testing.assert_allclose(layer(x), expected, rtol=1e-5, atol=1e-5)


def test_evaluation_leaves_no_pass_over_the_result_but_bias_and_relu():
    # XLA adds a bias where it convolves; a product with what comes out it computes by itself.
    layer, x = with_statistics()
    equations = jax.make_jaxpr(layer)(x).jaxpr.eqns
    of_result = [e.primitive.name for e in equations if e.outvars[0].aval.shape == (2, 9, 8, 5)]
    assert "mul" not in of_result


def test_evaluation_in_bfloat16_is_near_that_in_float32():
    layer, x = with_statistics(jnp.bfloat16)
    result = layer(x)
    assert result.dtype == jnp.bfloat16
    expected, _ = with_statistics()
    np.testing.assert_allclose(
        result.astype(jnp.float32), expected(x.astype(jnp.float32)), rtol=0.02, atol=0.1
    )
