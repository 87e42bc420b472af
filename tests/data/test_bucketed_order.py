"""The order of samples whose batches are of one bucket each."""

import collections

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcnet_jax.data import BucketedOrder

_counts = st.lists(st.integers(0, 40), min_size=1, max_size=4).filter(any)


def batches_of(order, count, first=0):
    """What batches are made of, one sample after the other."""
    size = order.batch_size
    return [
        [order(number) for number in range(batch * size, (batch + 1) * size)]
        for batch in range(first, first + count)
    ]


def batches_of_epochs(counts, size, epochs):
    """How many batches each bucket has in each epoch, counting up records epoch by epoch."""
    waiting, given = [0] * len(counts), []
    for _ in range(epochs):
        waiting = [left + count for left, count in zip(waiting, counts, strict=True)]
        given.append([records // size for records in waiting])
        waiting = [records % size for records in waiting]
    return given


@settings(max_examples=60)
@given(counts=_counts, size=st.integers(1, 24), seed=st.integers(0, 2**31 - 1))
def test_a_batch_is_of_one_bucket_and_a_bucket_has_its_share_of_each_epoch(counts, size, seed):
    order = BucketedOrder(tuple(counts), size, seed)
    given_in = batches_of_epochs(counts, size, epochs=8)
    batches = batches_of(order, sum(map(sum, given_in)))
    drawn = collections.defaultdict(list)
    for epoch, expected in enumerate(given_in):
        assert order.given_in(epoch) == expected
        of_epoch, batches = batches[: sum(expected)], batches[sum(expected) :]
        found = [0] * len(counts)
        for batch in of_epoch:
            (bucket,) = {sample.bucket for sample in batch}
            found[bucket] += 1
            drawn[bucket] += [sample.member for sample in batch]
        assert found == expected
    for bucket, members in drawn.items():  # each pass visits each record once
        for start in range(0, len(members), counts[bucket]):
            of_pass = members[start : start + counts[bucket]]
            assert len(set(of_pass)) == len(of_pass)
            assert set(of_pass) <= set(range(counts[bucket]))


@settings(max_examples=30)
@given(counts=_counts, size=st.integers(1, 24), batch=st.one_of(st.integers(0, 99), st.just(10**9)))
def test_what_a_sample_is_does_not_depend_on_what_was_asked_before(counts, size, batch):
    order = BucketedOrder(tuple(counts), size, seed=3)
    (late,) = batches_of(order, 1, first=batch)
    batches_of(order, 2)
    assert batches_of(order, 1, first=batch) == [late]
    assert batches_of(BucketedOrder(tuple(counts), size, seed=3), 1, first=batch) == [late]


@pytest.mark.parametrize("counts", [(400,), (300, 100)])
def test_orders_differ_between_epochs_and_seeds(counts):
    orders = [
        tuple(map(tuple, batches_of(BucketedOrder(counts, 4, seed), 100, first)))
        for seed, first in [(0, 0), (0, 100), (1, 0)]
    ]
    assert len(set(orders)) == 3
    assert all(sorted(sum(order, ())) == sorted(sum(orders[0], ())) for order in orders)
    buckets = {tuple(batch[0].bucket for batch in order) for order in orders}
    assert len(buckets) == (3 if len(counts) > 1 else 1)  # batches of all buckets are mixed
