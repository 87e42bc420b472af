import collections

from hypothesis import given
from hypothesis import strategies as st

from tests.faults.plan import KINDS, LIVE_KINDS, draw_plan, without


def all_faults(plan):
    return [fault for series in plan for faults in series.starts for fault in faults]


@given(st.integers(0, 2**32), st.integers(1, 300))
def test_a_plan_has_as_many_faults_as_asked_for_each_once(seed, count):
    numbers = [fault.number for fault in all_faults(draw_plan(seed, count))]
    assert sorted(numbers) == list(range(count))


def test_the_same_seed_draws_the_same_plan_and_another_seed_another():
    assert draw_plan(1, 50) == draw_plan(1, 50)
    assert draw_plan(1, 50) != draw_plan(2, 50)


def test_two_hundred_faults_are_of_every_kind_in_one_process_and_in_two():
    plan = draw_plan(0, 200)
    counts = collections.Counter(
        (fault.kind, series.processes)
        for series in plan
        for faults in series.starts
        for fault in faults
    )
    assert counts.keys() == {(kind, processes) for kind in KINDS for processes in (1, 2)}
    assert any(len(faults) > 1 for series in plan for faults in series.starts)


@given(st.integers(0, 2**32))
def test_each_fault_has_what_its_kind_needs(seed):
    for series in draw_plan(seed, 60):
        for fault in (fault for faults in series.starts for fault in faults):
            assert (fault.moment is not None) == (fault.kind in LIVE_KINDS)
            assert set(fault.processes) <= set(range(series.processes))
            assert fault.processes
        assert series.workers or not series.has("data worker killed")
        for faults in series.starts:
            kinds = [fault.kind for fault in faults]
            assert len(kinds) == len(set(kinds)), "two of a kind would hide one another"


def test_one_kind_can_be_left_out():
    left = all_faults(without(draw_plan(0, 200), "disk full"))
    drawn = all_faults(draw_plan(0, 200))
    assert left == [fault for fault in drawn if fault.kind != "disk full"]
    assert len(left) < len(drawn)
