"""Words beside boxes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcnet_jax.tasks.detection.label_places import label_places

SIZE = (60, 100)


def box(*edges):
    return np.array(edges, np.float32)


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        ((20, 30, 50, 40), (20, 20, 50, 30)),  # above
        ((20, 5, 50, 15), (20, 15, 50, 25)),  # below
        ((90, 30, 98, 40), (70, 20, 100, 30)),  # above, moved into the picture
        ((20, 5, 30, 55), (30, 5, 60, 15)),  # beside
        ((75, 5, 95, 55), (45, 5, 75, 15)),  # on the other side
        ((0, 0, 100, 60), (0, 0, 30, 10)),  # in its corner
    ],
)
def test_a_label_has_the_first_place_that_there_is_room_for(edges, expected):
    assert label_places([box(*edges)], [(30, 10)], SIZE) == [expected]


def test_what_would_hide_an_object_goes_elsewhere_or_is_left_out():
    first, second = box(20, 30, 40, 40), box(20, 18, 40, 28)
    places = label_places([first, second], [(30, 10), (30, 8)], SIZE)
    assert places == [(20, 40, 50, 50), (20, 10, 50, 18)]
    crowd = [box(x, y, x + 9, y + 9) for x in range(0, 100, 10) for y in range(0, 60, 10)]
    assert label_places(crowd, [(30, 10)] * 60, SIZE) == [None] * 60
    assert label_places([first], [(130, 10)], SIZE) == label_places([first], [None], SIZE) == [None]


def edges_within(length):
    return st.tuples(st.integers(0, length), st.integers(0, length)).map(sorted)


@given(
    st.lists(st.tuples(edges_within(100), edges_within(60)), min_size=1, max_size=12),
    st.tuples(st.integers(1, 60), st.integers(1, 30)),
)
def test_labels_lie_in_the_picture_beside_each_other_and_hide_little(edges, label):
    boxes = [box(x[0], y[0], x[1], y[1]) for x, y in edges]
    places = label_places(boxes, [label] * len(boxes), SIZE)
    drawn = np.zeros(SIZE, int)
    for left, top, right, bottom in (place for place in places if place is not None):
        assert (right - left, bottom - top) == label
        assert min(left, top) >= 0
        assert bottom <= SIZE[0]
        assert right <= SIZE[1]
        each = np.zeros(SIZE, int)
        each[int(top) : int(bottom), int(left) : int(right)] = 1
        drawn += each
        for x1, y1, x2, y2 in (other.astype(int) for other in boxes):
            assert each[y1:y2, x1:x2].sum() <= 0.15 * max((y2 - y1) * (x2 - x1), 1)
    assert drawn.max() <= 1
