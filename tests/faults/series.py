"""One series of faults: starts, faults, starts again, and what is to be said of each."""

import collections
import dataclasses
import random
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gcnet_jax.training.checkpoint_files import FOLDER
from tests.faults import injection, spoiled_step
from tests.faults.digests import digests, logged
from tests.faults.jobs import TRAIN, Job, training_commands
from tests.faults.live_faults import LiveFaults
from tests.faults.plan import FILE_KINDS, LIVE_KINDS, Fault, Series
from tests.faults.spoiled_step import PARTS
from tests.faults.undisturbed_run import Reference, training_arguments
from tests.faults.verdict import Saved, compare, judge

Record = dict[str, Any]
_MOST_STARTS = 40  # of one series, far beyond what its faults need
_MOST_STEPS = 10  # that a start does before a number is spoilt
_LEAVING_SECONDS = 15.0  # that data workers have to notice that their process is gone


@dataclasses.dataclass(frozen=True)
class Setting:
    """What all series have in common.

    Attributes:
        task: what is learnt.
        folder: for the series' own folders.
        data_dir: where its data set is prepared.
        environment: of the processes.
        references: the undisturbed run by number of processes.
        stop: set when the campaign is broken off: no series starts training any more.
    """

    task: str
    folder: Path
    data_dir: Path
    environment: dict[str, str]
    references: dict[int, Reference]
    stop: threading.Event = dataclasses.field(default_factory=threading.Event)


class SeriesOnItsWay:
    """One series on its way.

    Args:
        series: its faults.
        setting: what all series have in common.
        write: takes the record of each start.
    """

    def __init__(self, series: Series, setting: Setting, write: Callable[[Record], None]):
        self._series = series
        self._setting = setting
        self._write = write
        self._reference = setting.references[series.processes]
        self._folder = setting.folder / f"{series.number:03}"
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        self._records: injection.Records | None = None
        self._disk: injection.SmallDisk | None = None
        self._runs = 0
        self._workdir = self._folder
        self._harmed: dict[int, int] = {}  # the folders that were damaged: their inodes by step

    def run(self) -> bool:
        """Whether all ended as it should; the folder is kept only if something did not."""
        if self._series.has("records corrupted"):
            self._records = injection.Records(self._setting.data_dir, self._folder / "data")
        if self._series.has("disk full"):
            self._disk = injection.SmallDisk(self._folder / "disk")
        try:
            good = self._all_starts()
            if self._disk is not None and not good:
                shutil.copytree(self._folder / "disk", self._folder / "kept")
        finally:
            if self._disk is not None:
                self._disk.unmount()
        if good:
            shutil.rmtree(self._folder)
        return good

    def _all_starts(self) -> bool:
        self._begin_run()
        pending = collections.deque(self._series.starts)
        for number in range(_MOST_STARTS):
            if self._setting.stop.is_set():
                return True
            faults = pending.popleft() if pending else ()
            record = self._one_start(number, faults)
            over = record["completed"] and not record["damaged"]
            come = {fault["number"] for fault in record["faults"]}
            put_back = tuple(fault for fault in faults if fault.number not in come)
            if put_back:
                pending.appendleft(put_back)
            record["last"] = over and not pending
            self._write(record)
            if record["problems"]:
                return False
            if record["last"]:
                return True
            if over or record["hopeless"]:
                self._begin_run()
        raise RuntimeError(f"series {self._series.number} has no end after {_MOST_STARTS} starts")

    def _begin_run(self) -> None:
        """From here on in a new workdir."""
        if self._runs:
            shutil.rmtree(self._workdir)
        self._runs += 1
        parent = self._folder if self._disk is None else self._folder / "disk"
        self._workdir = parent / f"run-{self._runs}"
        self._harmed = {}

    def _one_start(self, number: int, faults: tuple[Fault, ...]) -> Record:
        before = self._saved()
        live = LiveFaults(
            [fault for fault in faults if fault.kind in LIVE_KINDS],
            self._workdir,
            self._disk,
            self._reference.launch_seconds,
        )
        what = self._corrupt_records(faults)
        job = Job(
            self._commands(faults, before.newest),
            self._setting.environment,
            self._folder / f"start-{number:02}",
        )
        try:
            times = live.watch(job)
            left_behind = _left_behind(job)
        finally:
            job.end()
            if self._records is not None:
                self._records.mend()
            if self._disk is not None:
                self._disk.make_room()
        what |= live.descriptions | _spoilt(faults, job)

        fired = [fault for fault in faults if fault.number in what]
        record = judge(job, fired, times, before, self._saved())
        if left_behind:
            record["problems"].append(f"{left_behind} processes were left behind")
        if record["completed"] and logged(self._workdir) != self._reference.rows:
            record["problems"].append("the log is not that of the undisturbed run")
        newest = max((*self._saved().good, *self._harmed), default=0)
        damage = {} if record["problems"] else self._damage(faults)
        what |= damage
        return {
            "series": self._series.number,
            "start": number,
            "run": self._runs,
            "processes": self._series.processes,
            "workers": self._series.workers,
            "faults": [
                {"number": f.number, "kind": f.kind, "what": what[f.number]}
                for f in faults
                if f.number in what
            ],
            "newest": newest,
            "damaged": bool(damage),
            **record,
        }

    def _saved(self) -> Saved:
        found = digests(self._workdir)
        inodes = {step: _inode(self._workdir, step) for step in found}
        self._harmed = {s: i for s, i in self._harmed.items() if inodes.get(s) == i}
        return compare(found, tuple(self._harmed), self._reference.states)

    def _corrupt_records(self, faults: tuple[Fault, ...]) -> dict[int, str]:
        return {
            fault.number: self._records.corrupt(random.Random(fault.seed))
            for fault in faults
            if fault.kind == "records corrupted" and self._records is not None
        }

    def _commands(self, faults: tuple[Fault, ...], newest: int) -> list[list[str]]:
        data_dir = self._setting.data_dir if self._records is None else self._records.data_dir
        arguments = training_arguments(
            self._setting.task, self._workdir, data_dir, data__num_workers=self._series.workers
        )
        programs = [[str(TRAIN)]] * self._series.processes
        for fault in faults:
            if fault.kind == "not a number":
                rng = random.Random(fault.seed)
                step, part = newest + rng.randrange(1, _MOST_STEPS), rng.choice(PARTS)
                spoiling = ["-m", spoiled_step.__name__, part, str(step), str(fault.seed)]
                for i in fault.processes:
                    programs[i] = spoiling
        return training_commands(arguments, programs)

    def _damage(self, faults: tuple[Fault, ...]) -> dict[int, str]:
        """Harms files of the newest checkpoint, if there is one."""
        done: dict[int, str] = {}
        for fault in faults:
            saved = self._saved()
            steps = saved.good + saved.harmed
            if fault.kind in FILE_KINDS and steps:
                newest = max(steps)
                self._harmed[newest] = _inode(self._workdir, newest)
                done[fault.number] = injection.damage_file(
                    self._workdir / FOLDER / str(newest), fault.kind, random.Random(fault.seed)
                )
        return done


def _inode(workdir: Path, step: int) -> int:
    return (workdir / FOLDER / str(step)).stat().st_ino


def _spoilt(faults: tuple[Fault, ...], job: Job) -> dict[int, str]:
    """The faults of that kind whose step was reached."""
    said = [
        line
        for process in job.processes
        for line in process.errors.splitlines()
        if line.startswith(spoiled_step.NOTE)
    ]
    numbers = [fault.number for fault in faults if fault.kind == "not a number"]
    return {number: said[0] for number in numbers if said}


def _left_behind(job: Job) -> int:
    """How many processes of the job do not end although its own have."""
    deadline = time.monotonic() + _LEAVING_SECONDS
    while True:
        left = sum(len(p.left_behind()) for p in job.processes if p.status is not None)
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.1)
