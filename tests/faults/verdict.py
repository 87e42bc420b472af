"""Whether a start ended as it should.

That is: by itself in the end with the state of the undisturbed run; or stopped on SIGTERM with
everything saved; or with one clear error; or killed. And always: no good checkpoint lost, and none
that is finished other than the undisturbed run's.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from gcnet_jax.cli.command import PREEMPTED
from tests.faults.jobs import Job, Process
from tests.faults.live_faults import Times
from tests.faults.plan import Fault
from tests.faults.undisturbed_run import TOTAL_STEPS

_ENDS_IN_ERROR = {"disk full", "data worker killed", "records corrupted", "not a number"}
_NONE_WHOLE = "none of the checkpoints"
_PARTNER_LOST = "the other processes of the job"
_RESUMED = re.compile(r"resuming after step (\d+)")
_STOPPED = re.compile(r"preempted: stopped after step (\d+)")
_TERMINATED = -15


@dataclasses.dataclass(frozen=True)
class Saved:
    """What a workdir has of finished checkpoints.

    Attributes:
        good: steps with the state of the undisturbed run.
        bad: steps with another, or that cannot be read.
        harmed: steps that the campaign has damaged; they are in neither of the other two.
        unscathed: of the harmed steps, those that have the state of the undisturbed run all the
            same. Whether such a checkpoint is taken or not, either is right.
    """

    good: tuple[int, ...]
    bad: tuple[int, ...]
    harmed: tuple[int, ...]
    unscathed: tuple[int, ...] = ()

    @property
    def newest(self) -> int:
        """The newest good step; 0 if there is none."""
        return max(self.good, default=0)


def compare(
    found: Mapping[int, str | None], harmed: Sequence[int], states: Mapping[int, str]
) -> Saved:
    """Sorts finished checkpoints by their digests."""
    equal = {step for step, state in found.items() if state == states.get(step)}
    return Saved(
        good=tuple(sorted(equal - set(harmed))),
        bad=tuple(sorted(found.keys() - equal - set(harmed))),
        harmed=tuple(harmed),
        unscathed=tuple(sorted(equal & set(harmed))),
    )


def judge(
    job: Job, fired: Sequence[Fault], times: Times, before: Saved, after: Saved
) -> dict[str, Any]:
    """What is to be written down about a start.

    Args:
        job: which has ended.
        fired: the faults that it had.
        times: when things happened.
        before: what was saved before it.
        after: what was saved when it had ended.

    Returns:
        `ends` and `seconds` of each process, `error` (the line), `resumed` (after which step),
        `saved` (the newest step), `completed`, `hopeless` (no checkpoint is usable), and
        `problems`: what should not be so.
    """
    kinds = {fault.kind for fault in fired}
    ends = [_end(process, when) for process, when in zip(job.processes, times.ended, strict=True)]
    reported = max(job.steps(), default=0)
    found = _RESUMED.search(job.processes[0].output)
    resumed = int(found[1]) if found else (0 if "from scratch" in job.processes[0].output else None)
    errors = [line for process in job.processes for line in _error_lines(process)]
    hopeless = any(_NONE_WHOLE in line for line in errors) and bool(before.harmed)
    contact_lost = any(_PARTNER_LOST in line for line in errors)
    problems = []
    if times.hung:
        problems.append("it did not end")
    if after.bad:
        problems.append(f"checkpoints {after.bad} are not those of the undisturbed run")
    if after.newest < before.newest:
        problems.append(f"the last good checkpoint, {before.newest}, is lost")
    if resumed is not None and resumed < before.newest:
        problems.append(f"it went on from {resumed} although {before.newest} was good")
    if hopeless and before.good:
        problems.append(f"it refused to start although {before.newest} was good")

    may_fail = bool(kinds & _ENDS_IN_ERROR) or hopeless
    allowed = {"to the end", "killed"}
    if "told to stop" in kinds:
        allowed |= {"saved and stopped", "ended by SIGTERM"}
    if may_fail or contact_lost:
        allowed.add("one clear error")
    for i, end in enumerate(ends):
        excused = _is_survivor(i, ends, may_fail or contact_lost)
        if end not in allowed and not excused:
            problems.append(f"process {i}: {end}")
    stopped = [_STOPPED.search(process.errors) for process in job.processes]
    if "saved and stopped" in ends or "ended by SIGTERM" in ends:
        steps = {int(match[1]) for match in stopped if match}
        if len(steps) > 1:
            problems.append(f"the processes stopped after different steps, {steps}")
        if after.newest < max(reported, *steps, 0):
            problems.append(f"step {max(reported, *steps, 0)} was done, {after.newest} is saved")
    completed = all(end == "to the end" for end in ends)
    if completed and TOTAL_STEPS not in after.good + after.unscathed:
        problems.append("the end is not that of the undisturbed run")
    seconds_to_stop = [
        None if times.told is None or when is None else max(when - times.told, 0)
        for when in times.ended
    ]
    return {
        "ends": ends,
        "seconds": times.ended,
        "seconds_to_stop": seconds_to_stop if "told to stop" in kinds else None,
        "errors": errors,
        "resumed": resumed,
        "reported": reported,
        "saved": after.newest,
        "completed": completed,
        "hopeless": hopeless,
        "contact_lost": contact_lost and not fired,
        "problems": problems,
    }


def _end(process: Process, when: float | None) -> str:
    """How a process ended, in words."""
    status = process.status
    if when is None:
        return "still waiting when ended"
    if process.killed_by_us:
        return "killed"
    if status == 0:
        return "to the end"
    if status == PREEMPTED and _STOPPED.search(process.errors):
        return "saved and stopped"
    if status == _TERMINATED:
        return "ended by SIGTERM"
    if status == 1 and len(_error_lines(process)) == 1 and "Traceback" not in process.errors:
        return "one clear error"
    traceback = " with a traceback" if "Traceback" in process.errors else ""
    return f"exit status {status}{traceback}"


def _error_lines(process: Process) -> list[str]:
    return [line for line in process.errors.splitlines() if line.startswith("error: ")]


def _is_survivor(number: int, ends: Sequence[str], may_fail: bool) -> bool:
    """Whether another process had its reason to fail, so that this one could not go on."""
    others = [end for i, end in enumerate(ends) if i != number]
    killed = any(end == "killed" for end in others)
    terminated = any(end == "ended by SIGTERM" for end in others)
    failed = may_fail and any(end == "one clear error" for end in others)
    return killed or terminated or failed
