import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcnet_jax.tasks.detection.boxes.coder import BoxCoder
from tests import plain_boxes

CODER = BoxCoder(means=(0.1, 0.0, -0.2, 0.0), stds=(0.1, 0.1, 0.2, 0.2))
encode = jax.jit(CODER.encode, compiler_options={"xla_backend_optimization_level": 2})
decode = jax.jit(CODER.decode)


def with_extent(generator, count):
    boxes = plain_boxes.drawn(generator, count, whole=False, extent=90)
    boxes[:, 2:] += 1
    return boxes


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=8)
def test_decoding_undoes_encoding(seed):
    generator = np.random.default_rng(seed)
    boxes, targets = with_extent(generator, 11), with_extent(generator, 11)
    # within the limit of size ratios
    near = np.clip(boxes + 0.1 * (targets - boxes), 0, None)
    decoded = decode(boxes, encode(boxes, near))
    np.testing.assert_allclose(decoded, near, atol=2e-4)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=8)
def test_encoding_divides_as_written(seed):
    generator = np.random.default_rng(seed)
    boxes, targets = with_extent(generator, 11), with_extent(generator, 11)
    half = np.float32(0.5)
    shift = (targets[:, :2] + targets[:, 2:]) * half - (boxes[:, :2] + boxes[:, 2:]) * half
    size, wanted = boxes[:, 2:] - boxes[:, :2], targets[:, 2:] - targets[:, :2]
    means, stds = np.float32(CODER.means), np.float32(CODER.stds)
    ours = encode(boxes, targets)
    np.testing.assert_array_equal(ours[:, :2], (shift / size - means[:2]) / stds[:2])
    np.testing.assert_allclose(ours[:, 2:], (np.log(wanted / size) - means[2:]) / stds[2:], 1e-4)


def test_sizes_change_by_no_more_than_the_limit():
    box = np.array([0, 0, 10, 20], np.float32)
    deltas = np.array([[0, 0, 50, -50]], np.float32)
    (decoded,) = BoxCoder().decode(box[None], deltas)
    ratio = 1000 / 16
    half_width, half_height = 5 * ratio, 10 / ratio
    expected = [5 - half_width, 10 - half_height, 5 + half_width, 10 + half_height]
    np.testing.assert_allclose(decoded, expected, rtol=1e-5)


def test_decoded_boxes_are_cut_to_the_image_itself():
    boxes = np.array([[-5, -7, 200, 300]], np.float32)
    decoded = BoxCoder().decode(boxes, np.zeros((1, 4), np.float32), jnp.array([111, 153]))
    np.testing.assert_array_equal(decoded, [[0, 0, 153, 111]])


def test_a_box_has_predictions_of_several_classes():
    boxes = with_extent(np.random.default_rng(0), 3)
    deltas = np.random.default_rng(1).standard_normal((3, 5, 4)).astype(np.float32)
    decoded = decode(boxes[:, None], deltas)
    for k in range(5):
        np.testing.assert_allclose(decoded[:, k], decode(boxes, deltas[:, k]), rtol=1e-5, atol=1e-4)


@jax.jit
def sums_with_gradients(boxes, targets):
    def total(boxes, targets):
        size = jnp.array([20, 20])
        decoded = CODER.decode(boxes, jnp.ones_like(boxes), size)
        return jnp.sum(CODER.encode(boxes, targets)) + jnp.sum(decoded)

    return jax.value_and_grad(total, argnums=(0, 1))(boxes, targets)


@pytest.mark.parametrize("rubbish", [math.nan, math.inf, -math.inf, 0.0, 1e38])
def test_padding_gives_numbers_and_gradients_that_are_numbers(rubbish):
    padding = np.full((2, 4), rubbish, np.float32)
    ordinary = np.array([[1, 2, 3, 5], [0, 0, 9, 9]], np.float32)
    for boxes, targets in ((padding, ordinary), (ordinary, padding)):
        for value in jax.tree.leaves(sums_with_gradients(boxes, targets)):
            assert np.isfinite(value).all()
