import re
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from gcnet_jax.ops import conv_general_dilated, winograd
from gcnet_jax.parallel import create_mesh

NUMBERS = ("NHWC", "HWIO", "NHWC")
WIDE = 64
"""Channels from which CPUs compute 3x3 convolutions with fewer multiplications."""


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


@pytest.mark.parametrize(("kernel", "channels"), [((1, 1), 3), ((3, 3), 3), ((2, 2, 2), 3)])
def test_channels_come_last_unless_something_else_is_said(kernel, channels):
    x, weights = jnp.ones((1, *(4 for _ in kernel), channels)), jnp.ones((*kernel, channels, 2))
    result = conv_general_dilated(x, weights, tuple(1 for _ in kernel), "VALID")
    assert result.shape == (1, *(5 - size for size in kernel), 2)
    assert result.max() == result.min() == channels * np.prod(kernel)


def wide_case(dilation, height=9, width=11, batch=2, channels=(WIDE, WIDE + 8)):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((batch, height, width, channels[0])), jnp.float32)
    kernel = jnp.asarray(rng.standard_normal((3, 3, *channels)), jnp.float32)
    options = {"rhs_dilation": (dilation,) * 2, "dimension_numbers": NUMBERS}

    def loss(convolution):
        def function(x, kernel):
            result = convolution(x, kernel, (1, 1), [(dilation, dilation)] * 2, **options)
            return jnp.sum(jnp.sin(result)), result

        return function

    return x, kernel, loss


def assert_as_near_as_rounding(actual, expected):
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


@settings(max_examples=6)
@given(
    dilation=st.sampled_from([1, 2, 4]),
    height=st.integers(1, 13),
    width=st.integers(1, 13),
    batch=st.integers(1, 3),
)
def test_wide_convolutions_of_any_size_keep_values_and_gradients(dilation, height, width, batch):
    x, kernel, loss = wide_case(dilation, height, width, batch)
    with mock.patch.object(winograd, "saves", return_value=True):
        pairs = [
            jax.jit(jax.value_and_grad(loss(convolution), (0, 1), has_aux=True))(x, kernel)
            for convolution in (conv_general_dilated, lax.conv_general_dilated)
        ]
    ((_, actual), grads), ((_, expected), expected_grads) = pairs
    assert_as_near_as_rounding(actual, expected)
    for grad, expected_grad in zip(grads, expected_grads, strict=True):
        assert_as_near_as_rounding(grad, expected_grad)


def as_on(platform):
    """Takes the way of another platform, on the devices that are here."""

    def chosen(*arguments, default, **ways):
        return ways.get(platform, default)(*arguments)

    return mock.patch.object(lax, "platform_dependent", chosen)


@pytest.mark.parametrize(
    ("dilation", "height", "width"), [(2, 8, 6), (2, 7, 5), (4, 9, 3), (3, 1, 2)]
)
def test_gradients_by_dilated_kernels_on_gpus_are_those_of_lax(dilation, height, width):
    x, kernel, loss = wide_case(dilation, height, width, channels=(3, 5))

    def gradients(convolution):
        return jax.jit(jax.grad(lambda *of: loss(convolution)(*of)[0], (0, 1)))(x, kernel)

    with as_on("cuda"):
        actual = gradients(conv_general_dilated)
    for grad, expected in zip(actual, gradients(lax.conv_general_dilated), strict=True):
        assert_as_near_as_rounding(grad, expected)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(("platform", "strided"), [("cuda", False), ("tpu", True)])
def test_gpus_get_no_convolution_with_a_window_as_large_as_the_map(platform, strided, dtype):
    # What JAX derives for a dilated kernel: cuDNN takes ten times as long for it.
    x, kernel, loss = wide_case(2)
    x, kernel = x.astype(dtype), kernel.astype(dtype)
    gradient = jax.jit(jax.grad(lambda x, kernel: loss(conv_general_dilated)(x, kernel)[0], (0, 1)))
    program = gradient.trace(x, kernel).lower(lowering_platforms=(platform,)).as_text()
    assert bool(re.search(r"window = \{stride = \[2, 2\]", program)) == strided


def test_mapping_over_examples_is_batching():
    x, kernel, loss = wide_case(1)
    one_by_one = jax.vmap(lambda image: loss(conv_general_dilated)(image[None], kernel)[1][0])(x)
    assert_as_near_as_rounding(one_by_one, loss(conv_general_dilated)(x, kernel)[1])


def operations(program):
    return set(re.findall(r"stablehlo\.(convolution|dot_general)", program.as_text()))


@pytest.mark.parametrize(
    ("platform", "expected"),
    [("cpu", "dot_general"), ("cuda", "convolution"), ("tpu", "convolution")],
)
def test_each_platform_gets_its_own_program_of_values_and_gradients(platform, expected):
    x, kernel, loss = wide_case(1)
    function = jax.jit(jax.value_and_grad(loss(conv_general_dilated), (0, 1), has_aux=True))
    assert operations(function.trace(x, kernel).lower(lowering_platforms=(platform,))) == {expected}


def test_programs_over_several_devices_keep_the_convolution_that_xla_can_split():
    x, kernel, loss = wide_case(1)

    def on(devices):
        mesh = create_mesh(jax.devices()[:devices])

        @jax.jit
        def values(x, kernel):
            with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
                return loss(conv_general_dilated)(x, kernel)[1]

        return operations(values.trace(x, kernel).lower(lowering_platforms=("cpu",)))

    assert on(2) == {"convolution"}
    assert on(1) == {"dot_general"}


@pytest.mark.parametrize(
    "change",
    [
        {"channels": (WIDE - 1, WIDE)},
        {"dtype": jnp.bfloat16},
        {"padding": [(0, 0), (0, 0)]},
        {"strides": (2, 2)},
        {"dilation": 64},  # of a small map: nearly all of a tile would be padding
    ],
)
def test_what_fewer_multiplications_are_not_for_stays_a_convolution(change):
    x, kernel, _ = wide_case(1, channels=change.get("channels", (WIDE, WIDE)))
    x, kernel = (a.astype(change.get("dtype", jnp.float32)) for a in (x, kernel))
    program = jax.jit(
        lambda x, kernel: conv_general_dilated(
            x,
            kernel,
            change.get("strides", (1, 1)),
            change.get("padding", [(change.get("dilation", 1),) * 2] * 2),
            rhs_dilation=(change.get("dilation", 1),) * 2,
            dimension_numbers=NUMBERS,
        )
    ).lower(x, kernel)
    assert operations(program) == {"convolution"}
