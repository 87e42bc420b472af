"""Jobs of several processes on the loopback address, and single ones that get signals."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

from tests.compilation import xla_flags


class Job:
    """The processes of one command, started once each, with their output in files.

    They compile quickly: that the processes of a job agree is shown by any program.

    Args:
        command: script and arguments.
        folder: for the output.
        processes: how many; with several each is told the address of the first.
        devices: simulated ones, of each process.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        *,
        processes: int,
        devices: int,
    ):
        folder.mkdir(parents=True, exist_ok=True)
        flags = xla_flags(devices, optimizes=False)
        environment = {**os.environ, "XLA_FLAGS": flags, "COLUMNS": "120"}
        address = f"127.0.0.1:{free_port()}"
        self._outputs = [folder / f"{index}.txt" for index in range(processes)]
        self.processes = []
        for index, output in enumerate(self._outputs):
            join = (f"--coordinator_address={address}", f"--num_processes={processes}")
            join = (*join, f"--process_id={index}") if processes > 1 else ()
            with output.open("w") as file:
                self.processes.append(
                    subprocess.Popen(
                        [sys.executable, *command, *join],
                        env=environment,
                        stdout=file,
                        stderr=subprocess.STDOUT,
                    )
                )

    def output(self, index: int = 0) -> str:
        """What one process has printed so far."""
        return self._outputs[index].read_text()

    def wait_for(self, pattern: str, *, seconds: float = 400) -> None:
        """Returns once the first process has printed what matches."""
        end = time.monotonic() + seconds
        while not re.search(pattern, self.output()):
            assert self.processes[0].poll() is None, self.output()
            assert time.monotonic() < end, self.output()
            time.sleep(0.02)

    def terminate(self, index: int = 0) -> None:
        """Sends SIGTERM to one process."""
        os.kill(self.processes[index].pid, signal.SIGTERM)

    def finish(self, *, seconds: float = 400) -> list[int]:
        """Waits for all processes; their exit statuses."""
        try:
            return [process.wait(seconds) for process in self.processes]
        finally:
            for process in self.processes:
                process.kill()


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def final_arrays(workdir: Path, step: int) -> dict[str, np.ndarray]:
    """Parameters, statistics, optimizer, step and seed of a checkpoint, by name."""
    arrays = {}
    for part in ("model", "training"):
        folder = workdir / "checkpoints" / str(step) / part
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
            names = checkpointer.metadata(folder).item_metadata.tree
            as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), names)
            restored = checkpointer.restore(
                folder, args=ocp.args.PyTreeRestore(restore_args=as_numpy)
            )
        for path, array in jax.tree.leaves_with_path(restored):
            arrays[part + jax.tree_util.keystr(path)] = np.asarray(array)
    return arrays
