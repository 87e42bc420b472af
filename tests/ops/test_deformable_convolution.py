import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import PartitionSpec
from jax.test_util import check_grads

from gcnet_jax.errors import InputError
from gcnet_jax.ops import conv_general_dilated
from gcnet_jax.ops.deformable_convolution import deformable_convolution
from gcnet_jax.parallel import batch_sharding, create_mesh, replicated
from tests.collectives import read_collectives

OPTIONS = {"stride": 2, "dilation": 2, "padding": 2, "groups": 2, "deform_groups": 2}
SHAPE, OUT = (2, 5, 7, 8), (2, 3, 4)


@functools.cache
def compiled():
    def both(x, offsets, kernel, cotangent):
        apply = functools.partial(deformable_convolution, **OPTIONS)
        y, transposed = jax.vjp(apply, x, offsets, kernel)
        return y, *transposed(cotangent)

    return jax.jit(both)


def case(seed=0, *, size=2.0, shape=SHAPE):
    rng = np.random.default_rng(seed)
    shapes = shape, (*OUT, 9 * 2 * 2), (3, 3, 4, 6), (*OUT, 6)
    x, offsets, kernel, cotangent = (rng.standard_normal(s).astype(np.float32) for s in shapes)
    return x, size * offsets, kernel, cotangent


def plainly(x, offsets, kernel):
    """One sample after the other, for `OPTIONS`."""
    _, height, width, channels = x.shape
    x, offsets, kernel = (np.asarray(a, np.float64) for a in (x, offsets, kernel))
    result = np.zeros((*OUT, kernel.shape[-1]))

    def pixel(image, row, column, where):
        if 0 <= row < height and 0 <= column < width:
            return x[image, row, column, where]
        return np.zeros(channels // 2)

    for image, i, j in np.ndindex(OUT):
        for tap in range(9):
            sampled = np.zeros(channels)
            for group in range(2):
                dy, dx = offsets[image, i, j, (group * 9 + tap) * 2 :][:2]
                y, z = 2 * i - 2 + 2 * (tap // 3) + dy, 2 * j - 2 + 2 * (tap % 3) + dx
                if not (-1 < y < height and -1 < z < width):
                    continue
                top, left = int(np.floor(y)), int(np.floor(z))
                where = slice(group * channels // 2, (group + 1) * channels // 2)
                for row in (top, top + 1):
                    for column in (left, left + 1):
                        share = (1 - abs(y - row)) * (1 - abs(z - column))
                        sampled[where] += share * pixel(image, row, column, where)
            taps = kernel[tap // 3, tap % 3]
            result[image, i, j, :3] += sampled[:4] @ taps[:, :3]
            result[image, i, j, 3:] += sampled[4:] @ taps[:, 3:]
    return result


@settings(max_examples=12)
@given(
    seed=st.integers(0, 99),
    size=st.sampled_from([0.0, 1.0, 5.0, 1e30]),
    whole=st.booleans(),  # places where a sample begins or ceases to count, and slopes change
)
def test_the_values_are_those_of_one_sample_after_the_other(seed, size, whole):
    x, offsets, kernel, cotangent = case(seed, size=size)
    offsets = np.round(offsets) if whole else offsets
    y, *gradients = compiled()(x, offsets, kernel, cotangent)
    np.testing.assert_allclose(y, plainly(x, offsets, kernel), rtol=1e-4, atol=2e-5)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_without_offsets_it_is_a_convolution():
    x, offsets, kernel, _ = case()
    y = compiled()(x, 0 * offsets, kernel, np.zeros((*OUT, 6), np.float32))[0]
    plain = conv_general_dilated(
        x, kernel, (2, 2), [(2, 2)] * 2, rhs_dilation=(2, 2), feature_group_count=2
    )
    np.testing.assert_allclose(y, plain, atol=1e-5)


def test_derivatives_in_both_modes_are_those_of_small_differences():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 4, 4, 2)).astype(np.float32)
    kernel = rng.standard_normal((3, 3, 1, 2)).astype(np.float32)
    # Away from whole numbers, where slopes change; some samples lie outside.
    offsets = (rng.integers(-3, 3, (1, 2, 2, 18)) + rng.uniform(0.2, 0.8)).astype(np.float32)
    apply = jax.jit(functools.partial(deformable_convolution, stride=2, groups=2))
    check_grads(apply, (x, offsets, kernel), order=1, eps=1e-2, atol=2e-2, rtol=2e-2)


def test_the_same_input_gives_the_same_bits_also_of_gradients():
    arguments = case()
    first, second = (compiled()(*arguments) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first, second)


def test_places_have_fractions_also_in_a_narrow_type():
    x = jnp.arange(200.0, dtype=jnp.bfloat16).reshape(1, 1, 200, 1)
    kernel = jnp.ones((1, 1, 1, 1), jnp.bfloat16)
    offsets = jnp.full((1, 1, 200, 2), 0.5, jnp.bfloat16).at[..., 0].set(0)
    y = deformable_convolution(x, offsets, kernel, padding=0)[0, 0, :-1, 0]
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(jnp.float32), np.arange(199) + 0.5, rtol=2**-7)


def test_taps_of_a_narrow_type_are_summed_in_float32():
    narrow = [jnp.asarray(array, jnp.bfloat16) for array in case()]
    narrow[1] = jnp.round(narrow[1])  # so that no sample is rounded
    rounded = compiled()(*narrow)
    exact = compiled()(*(array.astype(jnp.float32) for array in narrow))
    assert all(array.dtype == jnp.bfloat16 for array in rounded)
    np.testing.assert_array_equal(rounded[0], exact[0].astype(jnp.bfloat16))
    for ours, whole in zip(rounded[1:], exact[1:], strict=True):
        atol = 2**-6 * float(jnp.max(jnp.abs(whole)))
        np.testing.assert_allclose(ours.astype(jnp.float32), whole, atol=atol)


def test_a_mapped_axis_is_a_batch():
    x, offsets, kernel, _ = case()
    apply = functools.partial(deformable_convolution, **OPTIONS)
    mapped = jax.vmap(apply, in_axes=(0, 0, None))(x[:, None], offsets[:, None], kernel)
    np.testing.assert_allclose(mapped[:, 0], apply(x, offsets, kernel), atol=1e-6)


def test_devices_that_share_a_kernel_add_its_gradient_up():
    split, whole = PartitionSpec("data"), PartitionSpec()

    def both(x, offsets, kernel, cotangent):
        apply = functools.partial(deformable_convolution, **OPTIONS)
        y, transposed = jax.vjp(apply, x, offsets, kernel)
        return y, *transposed(cotangent)

    on_each = jax.shard_map(
        both,
        mesh=create_mesh(jax.devices()[:2]),
        in_specs=(split, split, whole, split),
        out_specs=(split, split, split, whole),
    )
    found, expected = jax.jit(on_each)(*case()), compiled()(*case())
    for ours, of_all in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, of_all, rtol=1e-4, atol=1e-4)


def test_devices_exchange_no_map_of_a_batch_that_is_split_over_them():
    mesh = create_mesh(jax.devices()[:2])
    split, whole = batch_sharding(mesh), replicated(mesh)
    both = jax.jit(compiled(), in_shardings=(split, split, whole, split))
    found = read_collectives(both.lower(*case()).compile().as_text())
    assert {collective.kind for collective in found} == {"all-reduce"}
    of_kernel = 4 * case()[2].size
    assert sum(collective.total_bytes for collective in found) == of_kernel


def test_an_image_in_a_larger_map_is_sampled_as_if_alone():
    x, offsets, kernel, cotangent = case(size=4.0)
    offsets[0, 0, 0, :] = np.round(offsets[0, 0, 0, :])
    height, width = 3, 5
    alone = deformable_convolution(x[:1, :height, :width], offsets[:1, :2, :3], kernel, **OPTIONS)
    x[:1, height:], x[:1, :, width:] = np.nan, np.inf
    sizes = jnp.array([(height, width), SHAPE[1:3]])

    def apply(x, offsets, kernel):
        return deformable_convolution(x, offsets, kernel, sizes=sizes, **OPTIONS)

    y, transposed = jax.vjp(apply, x, offsets, kernel)
    np.testing.assert_allclose(y[:1, :2, :3], alone, atol=1e-6)
    gradients = transposed(cotangent)
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert not np.any(gradients[0][0, height:])
    assert not np.any(gradients[0][0, :, width:])


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((1, 5, 5, 6), (1, 5, 5, 16), (3, 3, 6, 4)), r"\(1, 5, 5, 18\)"),
        (((1, 5, 5, 6), (1, 5, 5, 18), (3, 3, 3, 4)), "expected 6 input channels"),
        (((1, 5, 5, 6), (1, 5, 5, 18), (3, 3, 6, 3)), "groups"),
    ],
)
def test_what_does_not_fit_is_named(shapes, message):
    groups = 2 if message == "groups" else 1
    with pytest.raises(InputError, match=message):
        deformable_convolution(*map(jnp.zeros, shapes), groups=groups)


def test_a_sample_a_whole_position_outside_has_no_slope():
    x, kernel, offsets = jnp.ones((1, 2, 2, 1)), jnp.ones((1, 1, 1, 1)), jnp.zeros((1, 4, 4, 2))
    slopes = jax.grad(lambda offsets: jnp.sum(deformable_convolution(x, offsets, kernel)))(offsets)
    outside = np.pad(np.zeros((2, 2), bool), 1, constant_values=True)
    assert not np.any(slopes[0][outside])
    assert np.any(slopes[0][~outside])
