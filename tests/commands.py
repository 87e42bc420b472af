"""Commands on one device, from another folder: in this process, or one of their own."""

import contextlib
import dataclasses
import io
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax
import pytest

from tests.compilation import xla_flags


@dataclasses.dataclass(frozen=True)
class Finished:
    """What a command has printed, and the status that it ended with."""

    returncode: int
    stdout: str
    stderr: str


def environment_of_one_device() -> dict[str, str]:
    """The environment variables of a command that is a process on one device."""
    return {**os.environ, "XLA_FLAGS": xla_flags(1, optimizes=True), "COLUMNS": "120"}


def run_as_process(
    program: Sequence[object], folder: Path, *, seconds: float = 300
) -> subprocess.CompletedProcess:
    """Runs a command as a user starts it, on one device.

    It is a process of its own and costs seconds of imports; `run_here` does the same work.

    Args:
        program: what Python is given to run, with its arguments.
        folder: that it is started in.
        seconds: that it may take.
    """
    return subprocess.run(
        [sys.executable, *map(str, program)],
        cwd=folder,
        env=environment_of_one_device(),
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )


def run_here(
    main: Callable[[list[str]], int], arguments: Sequence[object], folder: Path, *, devices: int = 1
) -> Finished:
    """Runs a command's `main` in this process, in a folder, on so many devices, to its end."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        _alone_on(devices),
        _messages_on(err),
    ):
        status = main([str(argument) for argument in arguments])
    return Finished(status, out.getvalue(), err.getvalue())


def check_failure(finished: Finished, *, says: str, code: int = 1) -> None:
    """Asserts that a command has ended with that code and one line that says what is wrong."""
    lines = [line for line in finished.stderr.splitlines() if line.strip()]
    assert finished.returncode == code, finished.stderr
    assert lines, "nothing on stderr"
    assert lines[-1].startswith("error: "), finished.stderr
    assert says in lines[-1], lines[-1]
    assert "Traceback" not in finished.stderr


@contextlib.contextmanager
def _alone_on(count: int) -> Iterator[None]:
    """Lets JAX see so many devices, in 120 columns, and leaves malloc as it is."""
    seen = jax.devices()[:count]
    listened = jax.config.jax_enable_preemption_service
    with pytest.MonkeyPatch.context() as patch:
        for name in ("devices", "local_devices"):
            patch.setattr(jax, name, lambda *args, **kwargs: seen)
        patch.setattr(jax, "device_count", lambda *args, **kwargs: count)
        patch.setenv("COLUMNS", "120")
        patch.setenv("GLIBC_TUNABLES", "")
        try:
            yield
        finally:
            jax.config.update("jax_enable_preemption_service", listened)


@contextlib.contextmanager
def _messages_on(stream: io.StringIO) -> Iterator[None]:
    """Writes what is logged to the stream, as a process of a command does."""
    handler = logging.StreamHandler(stream)
    handler.setLevel(logging.WARNING)
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
