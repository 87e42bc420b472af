"""A training job: one or more processes of `scripts/train.py`, started as a user starts them."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

TRAIN = Path(__file__).parents[2] / "scripts" / "train.py"
_STEP = re.compile(r"^step (\d+)/", re.MULTILINE)


class Process:
    """One process of a job, at the head of a process group of its own.

    Args:
        command: what to run.
        environment: its environment variables.
        log: path of its output, to which `.out` and `.err` are added.
    """

    def __init__(self, command: Sequence[str], environment: dict[str, str], log: Path):
        self._out = log.with_name(f"{log.name}.out")
        self._err = log.with_name(f"{log.name}.err")
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._popen = subprocess.Popen(
                command, env=environment, stdout=out, stderr=err, start_new_session=True
            )
        self.killed_by_us = False

    @property
    def status(self) -> int | None:
        """The exit status; minus the signal's number if one ended it; None while it runs."""
        return self._popen.poll()

    @property
    def output(self) -> str:
        """What it has written to its standard output."""
        return self._out.read_text(errors="replace")

    @property
    def errors(self) -> str:
        """What it has written to its standard error."""
        return self._err.read_text(errors="replace")

    def kill(self) -> None:
        """Sends SIGKILL to this process alone."""
        if self.status is None:
            self.killed_by_us = True
            self._popen.kill()
            self._popen.wait()

    def terminate(self, *, whole_group: bool) -> None:
        """Sends SIGTERM."""
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if whole_group else os.kill)(self._popen.pid, signal.SIGTERM)

    def workers(self) -> list[int]:
        """The processes that make batches for it."""
        return [pid for pid in self._group() if b"multiprocessing.spawn" in _read_command_line(pid)]

    def left_behind(self) -> list[int]:
        """Processes of its group that are there although it has ended."""
        return [pid for pid in self._group() if pid != self._popen.pid]

    def kill_group(self) -> None:
        """Ends whatever is there of it."""
        self.kill()
        for pid in self.left_behind():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _group(self) -> list[int]:
        return [
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and _group_of(int(entry.name)) == self._popen.pid
        ]


class Job:
    """The processes of one start."""

    def __init__(self, commands: Sequence[Sequence[str]], environment: dict[str, str], log: Path):
        self.begun = time.monotonic()
        self.processes = [
            Process(command, environment, log.with_name(f"{log.name}.process-{i}"))
            for i, command in enumerate(commands)
        ]

    def running(self) -> list[Process]:
        """The processes that have not ended."""
        return [process for process in self.processes if process.status is None]

    def steps(self) -> list[int]:
        """The steps that the first process has reported."""
        return [int(step) for step in _STEP.findall(self.processes[0].output)]

    def end(self) -> None:
        """Ends whatever still runs."""
        for process in self.processes:
            process.kill_group()


def training_commands(
    arguments: Sequence[str], programs: Sequence[Sequence[str]]
) -> list[list[str]]:
    """The command lines that start a job.

    Args:
        arguments: of `scripts/train.py`.
        programs: what Python runs in each process: that script, or something in its place. Several
            processes meet on the loopback address.
    """
    joined = [[]]
    if len(programs) > 1:
        address = f"127.0.0.1:{_free_port()}"
        joined = [
            [
                f"--coordinator_address={address}",
                f"--num_processes={len(programs)}",
                f"--process_id={i}",
            ]
            for i in range(len(programs))
        ]
    return [
        [sys.executable, *program, *arguments, *of_process]
        for program, of_process in zip(programs, joined, strict=True)
    ]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _group_of(pid: int) -> int | None:
    """The process group; None if the process has ended, even if nobody has taken note of that."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[2])


def _read_command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
