import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcnet_jax.analysis import (
    ASSUMED,
    CHIPS,
    Chip,
    Collective,
    all_reduce_seconds,
    latency_seconds,
    step_time,
)

CHIP = Chip(
    kind="of nobody",
    peak_flops=1e12,
    memory_bandwidth=1e11,
    chips_a_host=4,
    fast_group=4,
    fast_bandwidth=1e9,
    slow_bandwidth=1e8,
    source="nobody",
)
GRADIENTS = Collective("all-reduce", 8_000_000, 30, 8, 1, ())
STATISTICS = [Collective("all-reduce", 1000, 1, 8, 1, ())] * 40


def test_a_chip_alone_sends_nothing():
    time = step_time(4e9, [GRADIENTS, *STATISTICS], 1, CHIP)
    assert (
        time.compute
        == time.one_after_another
        == time.overlapped
        == 4e9 / (1e12 * ASSUMED.utilization)
    )
    assert time.efficiency(overlapped=False) == 1


def test_a_chip_is_as_slow_as_its_memory():
    compute = step_time(4e9, [], 1, CHIP).compute
    assert step_time(4e9, [], 1, CHIP, memory_traffic=1e9).compute == pytest.approx(compute)
    assert step_time(4e9, [], 1, CHIP, memory_traffic=1e10).compute == pytest.approx(0.1)


def test_a_ring_of_four_sends_one_and_a_half_times_the_bytes():
    assert all_reduce_seconds(8e6, 4, CHIP) == pytest.approx(1.5 * 8e6 / 1e9)


def test_two_groups_of_four_sum_a_quarter_each_across():
    within, across = 1.5 * 8e6 / 1e9, 2 * 0.5 * 2e6 / 1e8
    assert all_reduce_seconds(8e6, 8, CHIP) == pytest.approx(within + across)


@given(st.integers(2, 2048), st.sampled_from(list(CHIPS)), st.floats(1e3, 1e10))
def test_more_chips_never_take_less_and_a_ring_never_more_than_twice_the_bytes(chips, name, size):
    chip = CHIPS[name]
    seconds = all_reduce_seconds(size, chips, chip)
    if chips <= chip.fast_group:
        assert size / chip.fast_bandwidth <= seconds < 2 * size / chip.fast_bandwidth
    assert seconds <= all_reduce_seconds(size, 2 * chips, chip)


def test_messages_go_up_and_down_a_tree():
    steps = {2: 2, 8: 6, 9: 8, 512: 18}
    for chips, number in steps.items():
        assert latency_seconds(chips) == pytest.approx(number * ASSUMED.latency_seconds)


def test_gradients_hide_behind_the_computation_and_statistics_do_not():
    time = step_time(40e9, [GRADIENTS, *STATISTICS], 4, CHIP)
    assert time.gradients == pytest.approx(1.5 * 8e6 / 1e9)
    assert time.statistics == pytest.approx(1.5 * 40e3 / 1e9 + 41 * 4 * ASSUMED.latency_seconds)
    assert time.one_after_another == pytest.approx(time.compute + time.gradients + time.statistics)
    assert time.gradients < 2 / 3 * time.compute
    assert time.overlapped == pytest.approx(time.compute + time.statistics)
    short = step_time(4e9, [GRADIENTS, *STATISTICS], 4, CHIP)
    assert short.overlapped == pytest.approx(short.compute / 3 + short.gradients + short.statistics)
    assert short.efficiency(overlapped=True) == pytest.approx(short.compute / short.overlapped)


def test_other_collectives_are_not_guessed_at():
    with pytest.raises(ValueError, match="all-gather"):
        step_time(4e9, [Collective("all-gather", 10, 1, 8, 1, ())], 8, CHIP)
