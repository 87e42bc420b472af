import logging
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from gcnet_jax.cli import process

# A command whose work leaves coroutines that complain when they are thrown away, as Orbax does.
ABANDONING = """
import asyncio
import sys
from absl import flags
from gcnet_jax.cli import command, process
from gcnet_jax.errors import InputError

SOURCE = '''
async def _read_array():
    try:
        await forever()
    except BaseException:
        raise ValueError("this read was given up")

async def _read_array_now():
    raise ValueError("this read failed")

def write():
    raise OSError(28, "no space left for this write")
'''

class Forever:
    def __await__(self):
        yield

def main(arguments):
    scope = {"forever": Forever}
    exec(compile(SOURCE, arguments[0], "exec"), scope)
    started, never_started = scope["_read_array"](), scope["_read_array"]()
    started.send(None)
    loop = asyncio.new_event_loop()
    failed = scope["_read_array_now"]()
    loop.create_task(failed)
    loop.run_in_executor(None, scope["write"])
    loop.run_until_complete(asyncio.sleep(0.1))
    loop.close()
    raise InputError("the checkpoint cannot be read")

process.run_alone(lambda: command.run(main, __name__, flags.FlagValues()))
"""


def standard_error(origin):
    """What the command prints on stderr whose abandoned coroutines come from the file `origin`."""
    arguments = [sys.executable, "-c", ABANDONING, origin]
    process = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False)
    assert process.returncode == 1
    return process.stderr


def test_reads_and_writes_that_orbax_gave_up_do_not_speak_after_the_error():
    stderr = standard_error("/python/site-packages/orbax/checkpoint/reads.py")
    assert stderr.splitlines() == ["error: the checkpoint cannot be read"]


def test_what_goes_wrong_unseen_elsewhere_is_still_shown():
    stderr = standard_error("/python/site-packages/other/reads.py")
    assert "this read was given up" in stderr
    assert "this read failed" in stderr
    assert "no space left for this write" in stderr


FULL_DISK = """
import sys
import threading
from absl import logging
from absl import flags
from gcnet_jax.cli import command, process
from gcnet_jax.errors import InputError

def write():
    raise OSError("no space left")

def main(arguments):
    scope = {"logging": logging}
    source = "def save():\\n logging.error('Save failed', exc_info=ValueError('no space left'))"
    exec(compile(source, arguments[0], "exec"), scope)
    scope["save"]()
    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    raise InputError("a checkpoint cannot be written")

process.run_alone(lambda: command.run(main, __name__, flags.FlagValues()))
"""


@pytest.mark.parametrize("library", ["orbax", "other"])
def test_a_full_disk_is_one_error_and_no_traceback_of_orbax(library):
    arguments = [sys.executable, "-c", FULL_DISK, f"/python/site-packages/{library}/save.py"]
    process = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False)
    assert process.returncode == 1
    lines = process.stderr.splitlines()
    assert lines[-1] == "error: a checkpoint cannot be written"
    assert lines[-2] == "WARNING: A thread that writes has ended (no space left)."
    assert ("Save failed" in process.stderr) == (library == "other")


LOST_PARTNER = """
import jax
from absl import flags
from gcnet_jax.cli import command, process

jax.distributed.is_initialized = lambda: True

def main(arguments):
    raise jax.errors.JaxRuntimeError("UNKNOWN: Gloo all-reduce failed: Connection reset by peer")

process.run_alone(lambda: command.run(main, __name__, flags.FlagValues()))
"""


def test_the_loss_of_another_process_is_one_error():
    arguments = [sys.executable, "-c", LOST_PARTNER]
    process = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False)
    assert process.returncode == 1
    (line,) = process.stderr.splitlines()
    assert line.startswith("error: the other processes of the job have ended")
    assert "Connection reset by peer" in line


@pytest.mark.skipif(find_spec("jax_cuda13_plugin") is not None, reason="CUDA is installed")
@pytest.mark.parametrize("platform", ["cuda", "nonsense"])
def test_devices_that_are_not_there_are_one_error(platform):
    program = """
import jax
from absl import flags
from gcnet_jax.cli import command, process

process.run_alone(lambda: command.run(lambda _: jax.devices(), __name__, flags.FlagValues()))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"JAX_PLATFORMS": platform},
        capture_output=True,
        text=True,
        timeout=120,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 1
    assert len(lines) == 1
    assert f"JAX_PLATFORMS={platform}" in lines[0]
    assert "Traceback" not in done.stderr


def page_faults_of_allocations(**environment):
    """Counts those of four blocks of 64 MiB, each freed before the next, after a first one."""
    program = """
import resource
from gcnet_jax.parallel import keep_freed_memory
keep_freed_memory()
def faults():
    b"x" * (64 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
before = faults()
for _ in range(4):
    after = faults()
print(after - before)
"""
    unset = {k: v for k, v in os.environ.items() if not k.startswith(("GLIBC_", "MALLOC_"))}
    done = subprocess.run(
        [sys.executable, "-c", program], env=unset | environment, capture_output=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc is Linux's")
def test_memory_that_was_freed_is_used_again_unless_the_user_has_told_malloc_otherwise():
    assert page_faults_of_allocations() < 100
    assert page_faults_of_allocations(MALLOC_MMAP_THRESHOLD_="1000000") > 1000


def test_a_logged_line_shows_what_a_terminal_would_obey_as_escapes():
    formatter = process.PrintableLines("%(levelname)s: %(message)s")
    try:
        raise RuntimeError("with lines of its own")
    except RuntimeError:
        record = logging.LogRecord(
            "absl", logging.WARNING, "", 0, "%s differs", ("a\x1b[2J\nb",), sys.exc_info()
        )
    first, *traceback = formatter.format(record).splitlines()
    assert first == r"WARNING: a\x1b[2J\nb differs"
    assert traceback[0] == "Traceback (most recent call last):"
