"""What ends a training run before its first step, and leaves nothing behind."""

import contextlib
import os
import shutil
import sys
from types import SimpleNamespace

import pytest
from absl import flags
from etils import epath

from gcnet_jax.cli import command
from gcnet_jax.errors import InputError, Preempted
from gcnet_jax.tasks.configs import load_config
from gcnet_jax.tasks.runs import train_from_config
from gcnet_jax.training import only_training


@pytest.fixture
def config(root, shapes_dir):
    config = load_config(root / "configs" / "context_shapes" / "gcnet.py")
    config.data.data_dir = str(shapes_dir)
    config.model.backbone.base_channels = config.model.decode_head.channels = 8
    config.training.batch_size = config.evaluation.batch_size = 8
    return config


def test_a_second_training_is_refused_for_as_long_as_the_first_is_under_way(config, tmp_path):
    with only_training(epath.Path(tmp_path)):
        with pytest.raises(InputError, match=f"another training is under way in {tmp_path}, by"):
            train_from_config(config, tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["training.lock"]


def test_a_workdir_whose_name_cannot_hold_checkpoints_is_refused_before_anything_is_made(
    config, tmp_path
):
    for name in ("a\\b", "logs:gs:"):
        with pytest.raises(InputError, match="use another"):
            train_from_config(config, tmp_path / name / "run")
    assert not list(tmp_path.rglob("config.json"))
    assert not list(tmp_path.rglob("checkpoints"))


def test_a_disk_without_room_is_named_before_the_first_step(config, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000_000))
    with pytest.raises(InputError, match=r"has 1 MB free, and a checkpoint needs 1 MB; make room"):
        train_from_config(config, tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()


def test_epochs_too_short_for_a_warm_up_in_steps_are_refused(config, tmp_path):
    config.training.total_steps, config.epochs.total = 0, 1
    config.training.batch_size, config.optimizer.warmup_steps = 256, 500
    with pytest.raises(
        InputError, match=r"in an epoch of 600 .* 256: 3; so optimizer\.warmup_steps is"
    ):
        train_from_config(config, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_status_of_a_stop_is_the_same_when_nobody_reads_what_is_said(monkeypatch):
    """As of a terminal that was closed, or of `train 2>&1 | head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setattr(sys, "stderr", os.fdopen(writer, "w", buffering=1))

    def stopped(arguments):
        raise Preempted("stopped after step 3")

    status = command.run(stopped, __name__, flags.FlagValues(), [])
    with contextlib.suppress(BrokenPipeError):
        sys.stderr.close()
    assert status == command.PREEMPTED
