import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcnet_jax.config import default_config
from gcnet_jax.errors import InputError
from gcnet_jax.evaluation import infer, sliding_windows


def plain_mean_over_windows(model, images, window, stride):
    """As the reference describes it: windows moved inwards at the border, sums over counts."""
    _, height, width, _ = images.shape
    total = count = 0
    tall, wide = min(window[0], height), min(window[1], width)
    for row in range(max(height - window[0] + stride[0] - 1, 0) // stride[0] + 1):
        for column in range(max(width - window[1] + stride[1] - 1, 0) // stride[1] + 1):
            top = min(row * stride[0], height - tall)
            left = min(column * stride[1], width - wide)
            at = np.s_[:, top : top + tall, left : left + wide]
            logits, seen = np.zeros((*images.shape[:3], 2)), np.zeros((1, height, width, 1))
            logits[at], seen[at] = model(images[at]), 1
            total, count = total + logits, count + seen
    return total / count


def depends_on_the_window(images):
    """Two classes: a pixel, and a pixel less the mean of its window."""
    first = images[..., :1]
    return jnp.concatenate([first, first - first.mean((1, 2), keepdims=True)], axis=-1)


sides = st.integers(1, 12)


@settings(max_examples=25, deadline=None)
@given(size=st.tuples(sides, sides), window=st.tuples(sides, sides), data=st.data())
def test_windows_average_over_all_that_see_a_pixel(size, window, data):
    stride = tuple(data.draw(st.integers(1, extent)) for extent in window)
    images = np.random.default_rng(0).standard_normal((2, *size, 3)).astype(np.float32)
    ours = sliding_windows(depends_on_the_window, images, window, stride)
    expected = plain_mean_over_windows(depends_on_the_window, images, window, stride)
    np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize("stride", [(0, 4), (4, -1), (4, 9)])
def test_strides_that_would_leave_gaps_are_refused(stride):
    with pytest.raises(InputError, match="window stride"):
        sliding_windows(depends_on_the_window, jnp.zeros((1, 16, 16, 3)), (8, 8), stride)


def test_an_unknown_mode_is_refused_with_those_that_exist():
    config = default_config().evaluation
    config.mode = "crop"
    with pytest.raises(InputError, match="'crop'; expected 'whole' or 'slide'"):
        infer(depends_on_the_window, jnp.zeros((1, 8, 8, 3)), config)


def test_whole_and_slide_are_the_same_for_a_window_of_the_images_size():
    config = default_config().evaluation
    images = jax.random.normal(jax.random.key(0), (1, 8, 9, 3))
    whole = infer(depends_on_the_window, images, config)
    config.mode, config.window, config.window_stride = "slide", (8, 9), (4, 4)
    np.testing.assert_allclose(infer(depends_on_the_window, images, config), whole, atol=1e-6)
