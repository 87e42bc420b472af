"""What events for TensorBoard bring along."""

import sys

import pytest
from etils import epath

from gcnet_jax.training.events import Events


@pytest.fixture
def as_if_new(monkeypatch):
    """Neither PyTorch nor what would import it is there, until the test ends."""
    for name in list(sys.modules):
        if name.partition(".")[0] == "torch" or (
            name.startswith("tensorboardX") and ".proto" not in name
        ):
            monkeypatch.delitem(sys.modules, name)


def test_events_are_written_without_pytorch_which_can_be_imported_afterwards(as_if_new, tmp_path):
    events = Events(epath.Path(tmp_path), first_step=0)
    events.add(1, {"loss": 2.0})
    events.close()
    (file,) = tmp_path.iterdir()
    assert b"loss" in file.read_bytes()
    assert "torch" not in sys.modules  # neither itself nor None, which would refuse it


def test_a_pytorch_that_is_there_stays(monkeypatch, tmp_path):
    there = object()
    monkeypatch.setitem(sys.modules, "torch", there)
    Events(epath.Path(tmp_path), first_step=0).close()
    assert sys.modules["torch"] is there
