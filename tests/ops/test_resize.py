import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcnet_jax.errors import InputError
from gcnet_jax.ops import apply_separable, interpolation_matrix, resize_bilinear
from tests import plain


@given(
    size_in=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    size_out=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    align_corners=st.booleans(),
)
@settings(max_examples=5, deadline=None)
def test_every_output_is_the_interpolation_at_its_position(size_in, size_out, align_corners):
    x = np.random.default_rng(0).standard_normal((*size_in, 2))
    expected = plain.resize(x, size_out, align_corners)

    result = resize_bilinear(
        jnp.asarray(x[None], jnp.float32), size_out, align_corners=align_corners
    )
    np.testing.assert_allclose(result[0], expected, atol=1e-5)


@pytest.mark.parametrize("align_corners", [False, True])
def test_the_same_size_gives_the_same_array(align_corners):
    x = jnp.ones((1, 5, 6, 3))
    assert resize_bilinear(x, (5, 6), align_corners=align_corners) is x


def test_the_dtype_is_kept():
    assert resize_bilinear(jnp.ones((1, 2, 2, 1), jnp.bfloat16), (4, 4)).dtype == jnp.bfloat16


lengths = st.integers(1, 12)


@given(
    n_in=st.lists(lengths, min_size=3, max_size=3), n_out=st.lists(lengths, min_size=3, max_size=3)
)
@settings(max_examples=30, deadline=None)
@pytest.mark.parametrize("align_corners", [False, True])
def test_each_image_is_resized_by_its_own_factor(align_corners, n_in, n_out):
    x = np.random.default_rng(0).standard_normal((3, 12, 1, 2)).astype(np.float32)
    rows = interpolation_matrix(
        jnp.array(n_in), jnp.array(n_out), (12, 12), align_corners=align_corners
    )
    result = np.asarray(apply_separable(x, rows, jnp.ones((1, 1, 1))))
    for i in range(3):
        expected = plain.resize_axis(x[i, : n_in[i]], n_out[i], align_corners)
        np.testing.assert_allclose(result[i, : n_out[i]], expected, atol=1e-5)
        assert (result[i, n_out[i] :] == 0).all()


@pytest.mark.parametrize("align_corners", [False, True])
def test_positions_stay_exact_on_long_axes(align_corners):
    """Interpolating the index itself gives the position: no rounding that grows with the size."""
    n_in, n_out = 1025, 8200
    matrix = interpolation_matrix(
        jnp.array([n_in]), jnp.array([n_out]), (n_in, n_out), align_corners=align_corners
    )
    positions = np.asarray(matrix[0], np.float64) @ np.arange(n_in)
    if align_corners:
        expected = np.arange(n_out) * (n_in - 1) / (n_out - 1)
    else:
        expected = np.clip((np.arange(n_out) + 0.5) * n_in / n_out - 0.5, 0, n_in - 1)
    np.testing.assert_allclose(positions, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("features", "size", "says"),
    [
        (jnp.ones((1, 4, 4, 1), jnp.int32), (8, 8), "dtype int32; expected floats"),
        (jnp.ones((4, 4, 1)), (8, 8), r"shape \(4, 4, 1\)"),
        (jnp.ones((1, 4, 4, 1)), (0, 8), r"size to resize to is \(0, 8\)"),
        (jnp.ones((1, 4, 4, 1)), (8,), r"size to resize to is \(8,\)"),
    ],
)
def test_what_cannot_be_resized_is_refused(features, size, says):
    with pytest.raises(InputError, match=says):
        resize_bilinear(features, size)
