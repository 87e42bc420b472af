import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcnet_jax.tasks.detection.boxes.overlaps import (
    intersection_over_area,
    intersection_over_union,
)
from tests import plain_boxes

FUNCTIONS = {
    intersection_over_union: plain_boxes.overlap,
    intersection_over_area: plain_boxes.share,
}
# Tests compile without optimizations, which are what would round differently.
OPTIMIZED = {"xla_backend_optimization_level": 2}
compiled = {function: jax.jit(function, compiler_options=OPTIMIZED) for function in FUNCTIONS}


@pytest.mark.parametrize("function", FUNCTIONS)
@given(seed=st.integers(0, 2**32 - 1), whole=st.booleans())
@settings(max_examples=8)
def test_overlaps_have_the_bits_of_single_operations(function, seed, whole):
    generator = np.random.default_rng(seed)
    boxes, others = (plain_boxes.drawn(generator, n, whole=whole, extent=99) for n in (13, 9))
    expected = [[FUNCTIONS[function](box, other) for other in others] for box in boxes]
    np.testing.assert_array_equal(compiled[function](boxes, others), np.array(expected, np.float32))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_boxes_without_area_overlap_nothing(function):
    boxes = np.array([[3, 3, 3, 3], [3, 3, 3, 8], [8, 8, 3, 3]], np.float32)
    np.testing.assert_array_equal(function(boxes, boxes), np.zeros((3, 3)))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_gradients_of_boxes_without_area_are_numbers(function):
    boxes = np.array([[3, 3, 3, 3], [3, 3, 3, 8], [0, 0, 5, 5]], np.float32)
    gradients = jax.grad(lambda a, b: function(a, b).sum(), argnums=(0, 1))(boxes, boxes)
    assert np.isfinite(gradients).all()
