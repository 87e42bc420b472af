import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcnet_jax.data.buckets import group_into_buckets

sides = st.integers(1, 9)
sizes = st.lists(st.tuples(sides, sides), min_size=1, max_size=30)


def padding(sizes, groups):
    """Positions that are padded in all, with a shape for each group."""
    chosen = [np.array([sizes[i] for i in group]) for group in groups]
    return sum(int((group.max(0).prod() - group.prod(-1)).sum()) for group in chosen)


@given(sizes=sizes, max_buckets=st.integers(1, 6))
def test_every_image_is_in_one_of_few_groups_in_order(sizes, max_buckets):
    groups = group_into_buckets(np.array(sizes)[:, None], max_buckets)
    assert len(groups) == min(max_buckets, len(set(sizes)))
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(sizes)))
    assert all((np.diff(group) > 0).all() for group in groups)


@given(sizes=sizes)
def test_more_groups_never_need_more_padding(sizes):
    paddings = [padding(sizes, group_into_buckets(np.array(sizes)[:, None], n)) for n in (1, 2, 4)]
    assert paddings == sorted(paddings, reverse=True)
    as_many_as_sizes = group_into_buckets(np.array(sizes)[:, None], len(sizes))
    assert padding(sizes, as_many_as_sizes) == 0


def test_sizes_that_differ_least_are_joined_and_large_ones_come_first():
    sizes = np.array([[4, 8], [8, 4], [4, 9], [20, 20], [8, 4]])[:, None]
    groups = group_into_buckets(sizes, 3)
    assert [group.tolist() for group in groups] == [[3], [0, 2], [1, 4]]


def test_both_of_the_joined_pay_for_padding():
    """Many small images make it dear to join them with a larger one, whichever comes first."""
    many_small = np.array([[10, 10]] * 50 + [[12, 12], [16, 16]])[:, None]
    assert [len(group) for group in group_into_buckets(many_small, 2)] == [2, 50]
    many_large = np.array([[10, 10], [13, 13]] + [[16, 16]] * 50)[:, None]
    assert [len(group) for group in group_into_buckets(many_large, 2)] == [50, 2]


@pytest.mark.parametrize(("max_buckets", "expected"), [(2, [[1], [0, 2]]), (1, [[0, 1, 2]])])
def test_all_that_is_padded_along_counts(max_buckets, expected):
    """The images are of one size, but one label is large."""
    sizes = np.array([[[4, 4], [4, 4]], [[4, 4], [90, 90]], [[4, 4], [5, 4]]])
    assert [group.tolist() for group in group_into_buckets(sizes, max_buckets)] == expected


def test_thousands_of_sizes_take_moments():
    sizes = np.random.default_rng(0).integers(200, 3000, (20_000, 2, 2))
    start = time.monotonic()
    groups = group_into_buckets(sizes, 4)
    assert time.monotonic() - start < 20  # not minutes, on any machine
    assert sorted(np.concatenate(groups).tolist()) == list(range(20_000))
    of_one_group = sizes.max(0).prod(-1).sum() * 20_000
    of_four = sum(sizes[g].max(0).prod(-1).sum() * len(g) for g in groups)
    assert of_four < 0.9 * of_one_group
