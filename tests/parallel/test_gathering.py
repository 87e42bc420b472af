"""Bytes that go from each process to all, in two real processes."""

import jax
import numpy as np
import pytest
from jax.experimental import multihost_utils

from gcnet_jax.parallel import gather_bytes
from tests.cli.jobs import Job

CODE = """
import sys
from gcnet_jax.parallel import gather_bytes, join_processes
address, count, index = (argument.split("=")[1] for argument in sys.argv[-3:])
join_processes(address, int(count), int(index))
lengths = [3, 2**20 + 5]  # the second in two pieces
own = bytes([int(index) + 7]) * lengths[int(index)]
assert gather_bytes(own) == [bytes([7]) * lengths[0], bytes([8]) * lengths[1]]
assert gather_bytes(b"") == [b"", b""]
print("gathered")
"""


def test_two_processes_have_the_bytes_of_both(tmp_path):
    job = Job(["-c", CODE], tmp_path, processes=2, devices=2)
    assert job.finish() == [0, 0], job.output(0) + job.output(1)
    assert job.output(0).endswith("gathered\n")


def test_a_process_alone_has_its_own():
    assert gather_bytes(b"own") == [b"own"]


class _Long(bytes):
    def __len__(self):
        return (5 << 30) + 3


def test_more_than_two_gigabytes_have_a_length_that_devices_can_hold(monkeypatch):
    class Sent(Exception):
        pass

    def send(array):
        raise Sent(array)

    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(multihost_utils, "process_allgather", send)
    with pytest.raises(Sent) as raised:
        gather_bytes(_Long())
    (length,) = raised.value.args
    assert length.dtype == np.int32  # devices make such of all else
    assert length.tolist() == [5 << 10, 3]
