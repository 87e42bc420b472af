"""Two trainings in one workdir, of which the second is told who holds it."""

import os
import signal
import socket
import subprocess
import sys

import pytest
from etils import epath

from gcnet_jax.errors import InputError
from gcnet_jax.training import only_training

HOLDS = """
import sys, time
from etils import epath
from gcnet_jax.training import only_training
with only_training(epath.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(100)
"""


@pytest.fixture
def workdir(tmp_path):
    return epath.Path(tmp_path) / "run"


def refused(workdir, process):
    holder = f"by process {process} on {socket.gethostname()} since "
    return pytest.raises(InputError, match=f"another training is under way in {workdir}, {holder}")


def test_the_second_is_told_who_holds_the_workdir_and_takes_it_afterwards(workdir):
    with only_training(workdir):
        with refused(workdir, os.getpid()), only_training(workdir):
            pytest.fail("both hold it")
        with only_training(workdir.with_name("other")):
            pass
    with only_training(workdir):
        pass


def test_a_process_that_was_killed_holds_nothing(workdir):
    command = [sys.executable, "-c", HOLDS, str(workdir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with refused(workdir, process.pid), only_training(workdir):
            pytest.fail("both hold it")
        process.send_signal(signal.SIGKILL)
    with only_training(workdir):
        pass


def test_what_the_lock_says_cannot_steer_the_terminal(workdir):
    with only_training(workdir):
        (workdir / "training.lock").write_bytes(b"\x1b[2J\xff\nx" + 1000 * b"y")
        with pytest.raises(InputError) as raised, only_training(workdir):
            pytest.fail("both hold it")
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 500


def test_a_workdir_that_is_a_file_or_cannot_be_written_is_named(workdir, monkeypatch):
    workdir.write_text("")
    with pytest.raises(InputError, match=f"workdir {workdir} is a file"), only_training(workdir):
        pytest.fail("it is a file")
    workdir.unlink()

    def refuses(*arguments, **options):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "open", refuses)
    message = f"workdir {workdir} cannot be written .Read-only file system"
    with pytest.raises(InputError, match=message), only_training(workdir):
        pytest.fail("it cannot be written")


def test_a_full_disk_is_named(workdir, monkeypatch):
    def refuses(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", refuses)
    message = f"workdir {workdir} cannot be written .No space left on device"
    with pytest.raises(InputError, match=message), only_training(workdir):
        pytest.fail("it cannot be written")


def test_a_file_system_without_locks_is_reported_and_used(workdir, monkeypatch, caplog):
    def refuses(*arguments):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuses)
    with only_training(workdir):
        pass
    assert "cannot be locked (No locks available)" in caplog.text


def test_a_bucket_is_used_without_a_lock(bucket):
    with only_training(bucket / "run"), only_training(bucket / "run"):
        pass
