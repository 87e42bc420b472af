"""What is found in an image does not depend on its batch mates, their sizes or the array's."""

import jax
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gcnet_jax.errors import InputError
from gcnet_jax.models import merge, split_for_evaluation
from gcnet_jax.tasks.detection.detector import DIVISOR
from tests.tasks.detection.narrow_detector import narrow_detector, padded_batch

CANVAS = (96, 96)
CLOSE = 1e-3
"""Candidates whose scores are nearer than this may change places by rounding."""


@pytest.fixture(scope="module")
def detect():
    """`detect(images, canvas)`: the detections in images that lie in arrays of one size."""
    graphdef, variables = split_for_evaluation(narrow_detector())
    program = jax.jit(lambda variables, *batch: merge(graphdef, variables)(*batch))
    return lambda images, canvas: jax.tree.map(
        np.asarray, program(variables, *padded_batch(images, canvas))
    )


def image(seed, height, width):
    return np.random.default_rng(seed).standard_normal((height, width, 3)).astype(np.float32)


def own_canvas(pixels):
    return tuple(-(-length // DIVISOR) * DIVISOR for length in pixels.shape[:2])


# Two shapes of arrays, lying and upright: a program is compiled for each.
sides = st.integers(33, 64).flatmap(lambda short: st.sampled_from([(short, 96), (96, short)]))


@pytest.mark.slow
@given(st.integers(0, 1 << 20), sides, sides)
@settings(max_examples=6, derandomize=True)
def test_an_image_in_a_batch_gives_its_own_detections(detect, seed, first, second):
    images = [image(seed, *first), image(seed + 1, *second)]
    together = detect(images, CANVAS)
    for index, pixels in enumerate(images):
        alone = detect([pixels], own_canvas(pixels))
        scores = alone.scores[0][alone.valid[0]]
        assume((-np.diff(scores) > CLOSE).all())
        np.testing.assert_array_equal(together.valid[index], alone.valid[0])
        np.testing.assert_array_equal(together.classes[index], alone.classes[0])
        np.testing.assert_allclose(together.scores[index], alone.scores[0], atol=1e-3)
        np.testing.assert_allclose(together.boxes[index], alone.boxes[0], atol=0.1)
        np.testing.assert_allclose(
            together.masks[index][alone.valid[0]], alone.masks[0][alone.valid[0]], atol=1e-2
        )


def test_with_the_references_padding_it_depends_on_the_array():
    pixels, differences = image(0, 32, 64), {}
    for reference_padding in (False, True):
        model = narrow_detector(reference_padding=reference_padding)
        graphdef, variables = split_for_evaluation(model)
        program = jax.jit(lambda v, *batch, graphdef=graphdef: merge(graphdef, v).pyramid(*batch))
        alone, in_larger = (
            program(variables, *padded_batch([pixels], canvas)).maps[0][:, :8, :16]
            for canvas in ((32, 64), CANVAS)
        )
        differences[reference_padding] = np.abs(alone - in_larger).max() / np.abs(alone).max()
    assert differences[False] < 1e-5
    assert differences[True] > 1e-2


def test_the_same_input_gives_the_same_bits_and_boxes_stay_in_the_image(detect):
    images = [image(0, 64, 96), image(1, 40, 70)]
    once, again = detect(images, CANVAS), detect(images, CANVAS)
    for x, y in zip(once, again, strict=True):
        np.testing.assert_array_equal(x, y)
    for index, pixels in enumerate(images):
        height, width = pixels.shape[:2]
        assert (once.boxes[index] >= 0).all()
        assert (once.boxes[index] <= [width, height, width, height]).all()
        assert once.valid[index].any()


def test_arrays_that_are_no_multiples_of_32_are_refused():
    with pytest.raises(InputError, match="the images are 64x90; expected multiples of 32"):
        narrow_detector()(np.zeros((1, 64, 90, 3), np.float32))
