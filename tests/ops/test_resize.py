import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcnet_jax.ops import resize_bilinear


def resize_axis(x: np.ndarray, n_out: int, align_corners: bool) -> np.ndarray:
    """Bilinear interpolation along the first axis, sample by sample, as PyTorch documents it."""
    n_in = x.shape[0]
    rows = []
    for i in range(n_out):
        if align_corners:
            position = i * (n_in - 1) / (n_out - 1) if n_out > 1 else 0.0
        else:
            position = max((i + 0.5) * n_in / n_out - 0.5, 0.0)
        low = min(int(position), n_in - 1)
        high = min(low + 1, n_in - 1)
        share = min(position - low, 1.0)
        rows.append((1 - share) * x[low] + share * x[high])
    return np.stack(rows)


@given(
    size_in=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    size_out=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    align_corners=st.booleans(),
)
@settings(max_examples=5, deadline=None)
def test_every_output_is_the_interpolation_at_its_position(size_in, size_out, align_corners):
    x = np.random.default_rng(0).standard_normal((*size_in, 2))
    expected = resize_axis(x, size_out[0], align_corners)
    expected = resize_axis(expected.swapaxes(0, 1), size_out[1], align_corners).swapaxes(0, 1)

    result = resize_bilinear(
        jnp.asarray(x[None], jnp.float32), size_out, align_corners=align_corners
    )
    np.testing.assert_allclose(result[0], expected, atol=1e-4)


@pytest.mark.parametrize("align_corners", [False, True])
def test_the_same_size_gives_the_same_array(align_corners):
    x = jnp.ones((1, 5, 6, 3))
    assert resize_bilinear(x, (5, 6), align_corners=align_corners) is x


def test_the_dtype_is_kept():
    assert resize_bilinear(jnp.ones((1, 2, 2, 1), jnp.bfloat16), (4, 4)).dtype == jnp.bfloat16
