"""Picking images that stand for all of a split."""

import pytest

from gcnet_jax.data import spread_over


@pytest.mark.parametrize(
    ("indices", "number", "expected"),
    [
        (range(10), 3, [0, 3, 6]),
        ([5, 7, 8, 20], 2, [5, 8]),
        (range(2), 5, [0, 1]),
        (range(0), 4, []),
    ],
)
def test_some_images_are_taken_from_all_over_a_split(indices, number, expected):
    assert spread_over(indices, number) == expected
