"""Sizes of resized images, as mmcv rounds them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcnet_jax.data import fit_in_words, rescaled_size, resize_to_fit

lengths = st.integers(1, 48)
sizes = st.tuples(lengths, lengths)


@pytest.mark.parametrize(
    ("size", "scale", "expected"),
    [
        ((360, 480), (240, 180), (180, 240)),
        ((360, 480), (700, 333), (333, 444)),
        ((360, 480), (2048, 512), (512, 683)),
        ((480, 360), (2048, 512), (683, 512)),  # the long edge is the longer, not the width
        ((1024, 2048), (2048, 1024), (1024, 2048)),
        ((100, 400), (200, 180), (50, 200)),  # here the long edge is what binds
        ((3, 2), (3, 3), (3, 2)),
        ((3, 5), (10, 5), (5, 8)),  # 8.33 down
        ((4, 7), (9, 9), (5, 9)),  # 5.14 down
        ((2, 4), (7, 7), (4, 7)),  # 3.5 up
        ((400, 3), (64, 32), (64, 1)),  # 0.48, of which something must be left
        ((1, 400), (64, 32), (1, 64)),
        ((1, 1), (64, 32), (32, 32)),
        ((24, 32), (5, 0), (1, 1)),  # a base scale times a ratio, fractions dropped
    ],
)
def test_rescaled_size_keeps_the_aspect_within_both_edges(size, scale, expected):
    assert rescaled_size(size, scale) == expected


@given(size=sizes, scale=st.tuples(st.integers(8, 200), st.integers(8, 200)))
def test_rescaled_size_fits_the_scale_and_reaches_one_edge_of_it(size, scale):
    rescaled = rescaled_size(size, scale)
    assert max(rescaled) <= max(scale)
    assert min(rescaled) <= min(scale)
    assert max(rescaled) == max(scale) or min(rescaled) == min(scale)


def test_an_image_is_resized_in_its_own_aspect_and_the_words_say_so():
    image = np.zeros((360, 480, 3), np.uint8)
    assert resize_to_fit(image, (700, 333)).shape == (333, 444, 3)
    assert resize_to_fit(image, (333, 700)).shape == (333, 444, 3)
    for scale in ((700, 333), (333, 700)):
        assert "longer edge has 700 pixels or the shorter 333" in fit_in_words(scale)
