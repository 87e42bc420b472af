import jax
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gcnet_jax.tasks.detection.regions.pasting import paste
from gcnet_jax.tasks.detection.regions.pasting_on_host import paste_on_host

SHAPE, BINS = (70, 23), 5  # more rows than a stripe has
pasted = jax.jit(lambda probabilities, boxes: paste(probabilities, boxes, SHAPE, threshold=0.4))


def plainly(probabilities, box):
    """The probability of each pixel, one after the other, in double precision."""
    x1, y1, x2, y2 = np.asarray(box, np.float64)
    result = np.zeros(SHAPE)
    if not (x2 > x1 and y2 > y1):
        return result
    for row, column in np.ndindex(SHAPE):
        y = (row + 0.5 - y1) / (y2 - y1) * BINS - 0.5
        x = (column + 0.5 - x1) / (x2 - x1) * BINS - 0.5
        for i in range(int(np.floor(y)), int(np.floor(y)) + 2):
            for j in range(int(np.floor(x)), int(np.floor(x)) + 2):
                if 0 <= i < BINS and 0 <= j < BINS:
                    share = (1 - abs(y - i)) * (1 - abs(x - j))
                    result[row, column] += share * probabilities[i, j]
    return result


@settings(max_examples=5)
@given(seed=st.integers(0, 99))
def test_pixels_are_those_that_reach_the_threshold_at_their_centres(seed):
    rng = np.random.default_rng(seed)
    probabilities = rng.uniform(0, 1, (4, BINS, BINS)).astype(np.float32)
    corners = rng.uniform(-20, [25, 75], (4, 2))
    sizes = rng.uniform(0, [[30, 80], [3, 3], [90, 200], [8, 60]])
    boxes = np.concatenate([corners, corners + sizes], 1).astype(np.float32)
    ours = pasted(probabilities, boxes)
    for one, box, pixels in zip(probabilities, boxes, np.asarray(ours), strict=True):
        expected = plainly(one, box)
        clear = np.abs(expected - 0.4) > 1e-5
        np.testing.assert_array_equal(pixels[clear], (expected >= 0.4)[clear])
        on_host = paste_on_host(one, box, SHAPE, threshold=0.4)
        np.testing.assert_array_equal(on_host[clear], pixels[clear])


def test_boxes_without_area_or_outside_the_image_have_no_pixels():
    boxes = np.float32([[3, 5, 3, 40], [9, 9, 4, 20], [-40, 5, -20, 9], [0, 0, np.inf, 9]])
    ones = np.ones((4, BINS, BINS), np.float32)
    assert not pasted(ones, boxes).any()
    assert not any(paste_on_host(*pair, SHAPE).any() for pair in zip(ones, boxes, strict=True))


def test_a_mapped_axis_is_an_image():
    rng = np.random.default_rng(0)
    probabilities = rng.uniform(0, 1, (2, 3, BINS, BINS)).astype(np.float32)
    boxes = np.sort(rng.uniform(0, 23, (2, 3, 2, 2)), axis=2).reshape(2, 3, 4).astype(np.float32)
    ours = jax.jit(jax.vmap(lambda *arguments: paste(*arguments, SHAPE)))(probabilities, boxes)
    flat = paste(probabilities.reshape(6, BINS, BINS), boxes.reshape(6, 4), SHAPE)
    np.testing.assert_array_equal(ours.reshape(flat.shape), flat)
