"""Verdicts on jobs that have ended in ways written down here."""

from types import SimpleNamespace

import pytest

from tests.faults.live_faults import Times
from tests.faults.plan import Fault
from tests.faults.undisturbed_run import TOTAL_STEPS
from tests.faults.verdict import Saved, compare, judge

KILLED, TERMINATED, ABORTED, PREEMPTED = -9, -15, -6, 75


def process(status, errors="", output="start  from scratch\n", *, by_us=False):
    return SimpleNamespace(status=status, errors=errors, output=output, killed_by_us=by_us)


def verdict(*processes, faults=(), before=(), after=(), bad=(), harmed=(), told=None, steps=()):
    job = SimpleNamespace(processes=processes, steps=lambda: list(steps))
    fired = [Fault(i, kind, None, (0,), False, 0) for i, kind in enumerate(faults)]
    times = Times([1.0] * len(processes), told)
    return judge(job, fired, times, Saved(before, (), harmed), Saved(after, bad, ()))


def stopped(step):
    return process(PREEMPTED, f"preempted: stopped after step {step}, which is saved\n")


def test_checkpoints_are_good_bad_or_harmed():
    found = {5: "a", 10: "other", 15: None, 20: "d", 25: "other"}
    saved = compare(found, [20, 25], {5: "a", 10: "b", 15: "c", 20: "d", 25: "e"})
    assert saved == Saved(good=(5,), bad=(10, 15), harmed=(20, 25), unscathed=(20,))
    assert saved.newest == 5
    assert Saved((), (), ()).newest == 0


@pytest.mark.parametrize(
    ("processes", "faults", "after"),
    [
        ([process(0)], [], (TOTAL_STEPS,)),
        ([process(KILLED, by_us=True)], ["killed"], (5,)),
        ([stopped(7)], ["told to stop"], (5, 7)),
        ([process(TERMINATED)], ["told to stop"], (5,)),
        ([process(1, "WARNING: x\nerror: full\n")], ["disk full"], (5,)),
        ([process(KILLED, by_us=True), process(ABORTED, "Traceback")], ["killed"], (5,)),
        ([process(1, "error: x\n"), process(ABORTED, "Traceback")], ["disk full"], (5,)),
    ],
)
def test_what_should_be_is_no_problem(processes, faults, after):
    assert verdict(*processes, faults=faults, before=(5,), after=after, told=0.5, harmed=())[
        "problems"
    ] == ["it went on from 0 although 5 was good"]
    resumed = [SimpleNamespace(**{**vars(p), "output": "resuming after step 5"}) for p in processes]
    assert not verdict(*resumed, faults=faults, before=(5,), after=after, told=0.5)["problems"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"faults": ["told to stop"], "of": [process(1, "error: x\n")]}, "one clear error"),
        ({"faults": ["killed"], "of": [process(0)], "after": (5,)}, "not that of the undisturbed"),
        ({"faults": ["disk full"], "of": [process(1, "error: x\nerror: y\n")]}, "exit status 1"),
        ({"faults": ["disk full"], "of": [process(1, "Traceback\nerror: x\n")]}, "traceback"),
        ({"faults": [], "of": [process(ABORTED)]}, "exit status -6"),
        ({"faults": ["told to stop"], "of": [stopped(8)], "after": (5,)}, "step 8 was done"),
        ({"faults": ["told to stop"], "of": [stopped(5), stopped(6)]}, "different steps"),
        ({"faults": ["told to stop"], "of": [stopped(5), process(ABORTED)]}, "process 1"),
        ({"faults": ["killed"], "of": [process(KILLED, by_us=True)], "after": ()}, "5, is lost"),
        ({"faults": ["killed"], "of": [process(KILLED, by_us=True)], "bad": (10,)}, "(10,)"),
    ],
)
def test_what_should_not_be_is_a_problem(given, says):
    given = {"before": (5,), "after": (5, TOTAL_STEPS) if "of" not in given else (5,), **given}
    result = verdict(*given.pop("of"), **given)
    assert any(says in problem for problem in result["problems"]), result["problems"]


def test_a_run_may_go_on_from_a_last_checkpoint_whose_damage_does_not_matter():
    job = SimpleNamespace(processes=[process(0)], steps=list)
    harmed, unscathed = Saved((), (), (TOTAL_STEPS,)), Saved((), (), (40,), (TOTAL_STEPS,))
    assert judge(job, [], Times([1.0]), harmed, harmed)["problems"]
    assert not judge(job, [], Times([1.0]), harmed, unscathed)["problems"]


def test_a_run_whose_checkpoints_are_all_harmed_may_refuse_to_start():
    refusal = process(1, "error: none of the checkpoints in x can be read (...)\n", "")
    result = verdict(refusal, harmed=(5,))
    assert result["hopeless"]
    assert not result["problems"]
    assert verdict(refusal, before=(5,), harmed=(10,), after=(5,))["problems"] == [
        "it refused to start although 5 was good"
    ]
