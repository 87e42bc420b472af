"""Trainings beside each other, in processes on cores of their own: progress, stops and failures."""

import contextlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import rich.console
import rich.progress

from gcnet_jax.cli.command import PREEMPTED
from gcnet_jax.errors import InputError, Interrupted, Preempted, printable
from gcnet_jax.training import PreemptionNotice

_PACKAGE = str(Path(__file__).parents[2])
# What `python -m gcnet_jax` is, whatever modules lie in the current folder.
_PROGRAM = (
    f"import sys; sys.path.append({_PACKAGE!r}); from gcnet_jax.cli.gcnet import main; main()"
)
_STEP = re.compile(r"step (\d+)/(\d+)\s+(.*)")
_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_TO_STOP = 120.0  # which is more than an evaluation and a checkpoint take


def train_side_by_side(
    trainings: Mapping[str, Sequence[str]], *, look: Callable[[], None] = lambda: None
) -> None:
    """Trains several runs at once, each by `gcnet train` in a process of its own on the CPU.

    Each gets an equal share of the cores, where the system allows that.

    Args:
        trainings: the arguments of `gcnet train`, by what each training is called.
        look: called twice a second or so while they train, and once when all are done.

    Raises:
        InputError: one of them has failed; the others are stopped.
        Preempted: SIGTERM or Ctrl-C came, or one of them was stopped, and so are the others; what
            they have done is saved.
    """
    shares = _shares_of_cores(len(trainings))
    with PreemptionNotice() as notice, _progress() as progress:
        begun: list[_Training] = []
        try:
            for (name, arguments), cores in zip(trainings.items(), shares, strict=True):
                begun.append(_Training(name, arguments, cores, progress))
            while not notice.reached() and all(training.goes_on() for training in begun):
                if not any(training.is_under_way for training in begun):
                    break
                look()
                _wait_for(begun, _SECONDS_BETWEEN_LOOKS)
        finally:
            stopped = [training for training in begun if training.stop()]
            for training in begun:
                training.end()
    asked = notice.reached() or stopped
    if asked and all(training.status in (0, *_STOPPED) for training in begun):
        kind = Interrupted if notice.by_hand else Preempted
        raise kind("stopped, with what is done saved; run the same command to go on")
    for training in begun:
        training.check()
    look()


_STOPPED = (PREEMPTED, -15)
"""How trainings end that were asked to: -15 is SIGTERM, before they listen for it."""


class _Training:
    """A training in a process of its own, and threads that read what it says.

    Args:
        name: what it is called.
        arguments: of `gcnet train`.
        cores: that it may use; None where that cannot be said.
        progress: where its bar is shown, and its lines.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        cores: Collection[int] | None,
        progress: rich.progress.Progress,
    ):
        self._name, self._progress = name, progress
        self._error = ""
        self._task = progress.add_task(name, total=None, status="starts")
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM, "train", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="backslashreplace",
            # An accelerator does not let in two processes, or not without more ado.
            env={"JAX_PLATFORMS": "cpu", **os.environ},
            start_new_session=True,  # Ctrl-C goes to this process alone, which tells the others
        )
        if cores is not None:
            with contextlib.suppress(ProcessLookupError):  # it has ended already
                os.sched_setaffinity(self._process.pid, cores)
        self._readers = [
            threading.Thread(target=self._read, args=streams, daemon=True)
            for streams in (
                (self._process.stdout, self._take_output),
                (self._process.stderr, self._take_error),
            )
        ]
        for reader in self._readers:
            reader.start()

    @property
    def status(self) -> int:
        """With which it has ended."""
        return self._process.wait()

    @property
    def is_under_way(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def goes_on(self) -> bool:
        """Whether it trains, or has done all of it."""
        return self._process.poll() in (None, 0)

    def wait(self, seconds: float) -> None:
        """Waits until it has ended, for so long."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def stop(self) -> bool:
        """Asks it to save and stop; returns whether it has not done all of its work."""
        if self.is_under_way:
            self._process.terminate()
            return True
        return self._process.returncode != 0

    def end(self) -> None:
        """Waits until it has ended, and all that it said is shown."""
        self.wait(_SECONDS_TO_STOP)
        if self.is_under_way:
            self._process.kill()
        self._process.wait()
        for reader in self._readers:
            reader.join()

    def check(self) -> None:
        """Raises InputError if it has failed by itself."""
        if self.status not in (0, *_STOPPED):
            reason = self._error or f"status {self.status}; see above"
            raise InputError(f"the network {self._name} was not trained: {reason}")

    def _read(self, stream: IO[str], take: Callable[[str], None]) -> None:
        with stream:
            for line in stream:
                take(printable(line.rstrip("\n")))

    def _take_output(self, line: str) -> None:
        match = _STEP.match(line)
        if match is None:
            return
        step, total, status = int(match[1]), int(match[2]), match[3]
        self._progress.update(self._task, completed=step, total=total, status=status)
        if not self._progress.console.is_terminal:
            self._show(line)

    def _take_error(self, line: str) -> None:
        kind, _, reason = line.partition(": ")
        if kind == "error":
            self._error = reason
        elif kind not in ("preempted", "interrupted"):
            self._show(line)

    def _show(self, line: str) -> None:
        self._progress.console.print(
            f"{self._name}: {line}", markup=False, highlight=False, soft_wrap=True
        )


def _wait_for(trainings: Sequence[_Training], seconds: float) -> None:
    """Waits a while, or until one has ended that was under way."""
    under_way = [training for training in trainings if training.is_under_way]
    for training in under_way:
        training.wait(seconds / len(under_way))


def _shares_of_cores(count: int) -> list[Collection[int] | None]:
    if not hasattr(os, "sched_setaffinity"):  # of Linux
        return [None] * count
    cores = sorted(os.sched_getaffinity(0))
    return [set(cores[i::count] or cores) for i in range(count)]


@contextlib.contextmanager
def _progress() -> Iterator[rich.progress.Progress]:
    console = rich.console.Console()
    with rich.progress.Progress(
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TextColumn("{task.fields[status]}"),
        console=console,
        disable=not console.is_terminal,
    ) as progress:
        yield progress
