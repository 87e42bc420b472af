"""Signals that ask to save and stop; the second Ctrl-C asks for nothing."""

import contextlib
import os
import signal
import subprocess
import sys

import pytest

from gcnet_jax.training import PreemptionNotice


@pytest.fixture(autouse=True)
def _with_a_terminal():
    """As if the tests were not started by `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_is_noticed_and_does_not_end_the_process(number, capfd):
    before = signal.getsignal(number)
    with PreemptionNotice() as notice:
        assert not notice.reached()
        os.kill(os.getpid(), number)
        assert notice.reached()
        assert notice.reached()
        assert notice.by_hand == (number == signal.SIGINT)
    assert signal.getsignal(number) is before
    said = "stopping when the step under way is done and saved; Ctrl-C again: at once"
    assert (said in capfd.readouterr().err) == (number == signal.SIGINT)


def test_signals_of_an_earlier_run_are_not_counted(capfd):
    for _ in range(2):
        with PreemptionNotice() as notice:
            os.kill(os.getpid(), signal.SIGINT)
            assert notice.reached()
    assert capfd.readouterr().err.count("stopping") == 2


def test_what_the_process_was_started_to_ignore_is_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `nohup` does
    try:
        with PreemptionNotice() as notice:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not notice.reached()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_it_can_be_asked_for_without_a_signal():
    with PreemptionNotice() as notice:
        notice.request()
        assert notice.reached()


BUSY = """
import jax, jax.numpy as jnp
from gcnet_jax.training import PreemptionNotice
with PreemptionNotice():
    print("busy", flush=True)
    jax.jit(lambda x: jax.lax.fori_loop(0, 10**12, lambda i, x: x + i, x))(0).block_until_ready()
"""


def test_the_second_ctrl_c_ends_the_process_at_once_whatever_it_is_doing():
    """Here the main thread is inside a computation, and comes back to Python in hours."""
    command = [sys.executable, "-c", BUSY]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "busy\n"
        process.send_signal(signal.SIGINT)
        first = [process.stderr.readline() for _ in range(2)]
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)
        process.kill()
        assert "stopping when the step under way is done" in first[1]
        assert process.stderr.read() == "\ninterrupted\n"
    assert process.returncode == 130
