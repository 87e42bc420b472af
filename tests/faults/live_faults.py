"""Watching over one start: faults at their moments, and an end to what cannot end by itself."""

import contextlib
import dataclasses
import os
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from tests.faults.injection import SmallDisk, saves_under_way
from tests.faults.jobs import Job, Process
from tests.faults.plan import Fault

STOP_SECONDS = 60.0
"""Within which a job must end after SIGTERM, or after its first step if SIGTERM came before."""
_SURVIVOR_SECONDS = 20.0  # that a scheduler leaves a process whose partner has failed
_LONGEST_SECONDS = 400.0  # of a start; more means that it hangs
_POLL_SECONDS = 0.005


@dataclasses.dataclass
class Times:
    """How a start went by the clock, in seconds since its launch.

    Attributes:
        ended: of each process; None for one that was ended because it would not end.
        told: when the first SIGTERM was sent.
        hung: whether the start was given up.
    """

    ended: list[float | None]
    told: float | None = None
    hung: bool = False


def latest_end(told: float | None, first_step: float | None) -> float:
    """Until when a start may go on, in seconds since its launch.

    Args:
        told: when it was told to stop, if it was.
        first_step: when its first step was reported, if one was. How long a start takes until then
            depends on what else the machine does; it ends after that step.
    """
    if told is None or first_step is None:
        return _LONGEST_SECONDS
    return min(max(told, first_step) + STOP_SECONDS, _LONGEST_SECONDS)


class LiveFaults:
    """The faults of one start that come while it runs.

    Args:
        faults: these faults.
        workdir: of the run.
        disk: which can be filled, if the run has one of its own.
        launch_seconds: that a start usually takes to its first step.
    """

    def __init__(
        self,
        faults: Sequence[Fault],
        workdir: Path,
        disk: SmallDisk | None,
        launch_seconds: float,
    ):
        self.descriptions: dict[int, str] = {}
        """What was done, by the faults' numbers; a fault whose moment never came is missing."""
        self._workdir = workdir
        self._disk = disk
        self._launch_seconds = launch_seconds
        self._waiting = list(faults)
        self._due: dict[int, float] = {}
        self._saves = saves_under_way(workdir)
        self._begun_saves: set[str] = set()

    def watch(self, job: Job) -> Times:
        """Returns when all processes have ended, by themselves or not."""
        times = Times([None] * len(job.processes))
        watches_saves = any(f.moment and f.moment.after == "saves" for f in self._waiting)
        first_loss = first_step = None
        while job.running():
            now = time.monotonic() - job.begun
            if watches_saves:
                self._begun_saves |= saves_under_way(self._workdir) - self._saves
            for fault in list(self._waiting):
                if self._is_due(fault, job, now) and self._come(fault, job):
                    self._waiting.remove(fault)
                    if fault.kind == "told to stop" and times.told is None:
                        times.told = now
            self._note_ends(job, times)
            if first_loss is None and any(process.status for process in job.processes):
                first_loss = now
            if first_loss is not None and now > first_loss + _SURVIVOR_SECONDS:
                break
            if first_step is None and job.steps():
                first_step = now
            times.hung = now > latest_end(times.told, first_step)
            if times.hung:
                break
            time.sleep(_POLL_SECONDS)
        self._note_ends(job, times)
        return times

    def _note_ends(self, job: Job, times: Times) -> None:
        for i, process in enumerate(job.processes):
            if process.status is not None and times.ended[i] is None:
                times.ended[i] = time.monotonic() - job.begun

    def _is_due(self, fault: Fault, job: Job, now: float) -> bool:
        moment = fault.moment
        assert moment is not None
        if fault.number not in self._due:
            reached = {
                "launch": lambda: now >= moment.count * self._launch_seconds,
                "steps": lambda: len(job.steps()) >= moment.count,
                "saves": lambda: len(self._begun_saves) >= moment.count,
            }[moment.after]
            if reached():
                self._due[fault.number] = now + moment.delay
        return now >= self._due.get(fault.number, float("inf"))

    def _come(self, fault: Fault, job: Job) -> bool:
        """Whether there was something to harm."""
        met = [job.processes[i] for i in fault.processes]
        alive = [process for process in met if process.status is None]
        if not alive:
            return False
        what = f"process {', '.join(map(str, fault.processes))}"
        if fault.kind == "disk full":
            assert self._disk is not None
            what = self._disk.fill(random.Random(fault.seed))
        elif fault.kind == "data worker killed":
            workers = [worker for process in alive for worker in process.workers()]
            if not workers:
                return False
            what += f", one of {len(workers)} workers"
            with contextlib.suppress(ProcessLookupError):
                os.kill(random.Random(fault.seed).choice(workers), signal.SIGKILL)
        elif fault.kind == "told to stop":
            for process in alive:
                process.terminate(whole_group=fault.whole_group)
            what += " and its workers" if fault.whole_group else ""
        else:
            what += self._kill(alive, whole_group=fault.whole_group)
        moment = fault.moment
        assert moment is not None
        self.descriptions[fault.number] = f"{what}, after {moment.count:.3g} {moment.after}"
        return True

    def _kill(self, processes: list[Process], *, whole_group: bool) -> str:
        for process in processes:
            process.kill()
        if whole_group:
            for process in processes:
                process.kill_group()
        saving = saves_under_way(self._workdir) - self._saves
        workers = " and its workers" if whole_group else ""
        return workers + (" during a save" if saving else "")
