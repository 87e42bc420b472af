import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from gcnet_jax.errors import InputError
from gcnet_jax.nn import Conv, ConvNormAct, DeformableConv


def with_statistics(dtype=jnp.float32, **options):
    layer = ConvNormAct(6, 9, 3, dtype=dtype, rngs=nnx.Rngs(0), **options)
    rng = np.random.default_rng(0)
    layer.norm.mean[...] = jnp.asarray(rng.normal(size=9), jnp.float32)
    layer.norm.var[...] = jnp.asarray(rng.uniform(0.5, 2.0, 9), jnp.float32)
    layer.norm.scale[...] = jnp.asarray(rng.normal(size=9), jnp.float32)
    layer.norm.bias[...] = jnp.asarray(rng.normal(size=9), jnp.float32)
    layer.eval()
    return layer, jnp.asarray(rng.standard_normal((2, 9, 8, 6)), dtype)


@pytest.mark.parametrize(
    "options",
    [
        {"stride": 2},
        {"dilation": 2, "activate": False},
        {"groups": 3},
        {"groups": 3, "deformable": True, "stride": 2},
    ],
)
def test_evaluation_normalises_what_the_convolution_gives(options):
    layer, x = with_statistics(**options)
    expected = layer.norm(layer.conv(x))
    expected = jax.nn.relu(expected) if layer.activate else expected
    np.testing.assert_allclose(layer(x), expected, rtol=1e-5, atol=1e-5)


def test_evaluation_leaves_no_pass_over_the_result_but_bias_and_relu():
    # XLA adds a bias where it convolves; a product with what comes out it computes by itself.
    layer, x = with_statistics()
    equations = jax.make_jaxpr(layer)(x).jaxpr.eqns
    of_result = [e.primitive.name for e in equations if e.outvars[0].aval.shape == (2, 9, 8, 9)]
    assert "mul" not in of_result


def test_evaluation_in_bfloat16_is_near_that_in_float32():
    layer, x = with_statistics(jnp.bfloat16)
    result = layer(x)
    assert result.dtype == jnp.bfloat16
    expected, _ = with_statistics()
    np.testing.assert_allclose(
        result.astype(jnp.float32), expected(x.astype(jnp.float32)), rtol=0.02, atol=0.1
    )


def test_in_training_what_lies_outside_the_mask_counts_in_no_statistic():
    rng = np.random.default_rng(0)
    x = np.asarray(rng.normal(size=(2, 8, 6, 4)), np.float32)
    padded = np.pad(x, ((0, 0), (0, 4), (0, 3), (0, 0)))
    mask = np.pad(np.ones((2, 8, 6), bool), ((0, 0), (0, 4), (0, 3)))
    alone, among = (ConvNormAct(4, 5, 3, stride=2, rngs=nnx.Rngs(0)) for _ in range(2))
    expected, y = alone(x), among(padded, mask)
    np.testing.assert_allclose(y[:, :4, :3], expected, rtol=1e-4, atol=1e-5)
    assert not np.any(y[:, 4:])
    np.testing.assert_allclose(among.norm.var[...], alone.norm.var[...], rtol=1e-5)


def test_a_new_deformable_convolution_moves_nothing_and_its_offsets_do():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 6, 7, 4)), jnp.float32)
    conv = DeformableConv(4, 6, groups=2, dilation=2, rngs=nnx.Rngs(0))
    plain = Conv(4, 6, 3, groups=2, dilation=2, rngs=nnx.Rngs(0))
    plain.kernel[...] = conv.kernel[...]
    np.testing.assert_allclose(conv(x), plain(x), rtol=1e-5, atol=1e-5)
    conv.offset.bias[...] = jnp.tile(jnp.array([0.0, 1.0]), 9)  # all taps one to the right
    moved = plain(jnp.pad(x, ((0, 0), (0, 0), (0, 1), (0, 0))))[:, :, 1:]
    np.testing.assert_allclose(conv(x), moved, rtol=1e-5, atol=1e-5)


def test_a_deformable_kernel_of_another_size_is_refused():
    with pytest.raises(InputError, match=r"kernel_size of a deformable.* is 5; expected .*\(3,\)"):
        ConvNormAct(6, 9, 5, deformable=True, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("deformable", [False, True])
def test_channels_that_do_not_divide_into_groups_are_refused(deformable):
    with pytest.raises(InputError, match=r"6 and 9 channels do not divide into.*groups is 4"):
        ConvNormAct(6, 9, 3, groups=4, deformable=deformable, rngs=nnx.Rngs(0))
