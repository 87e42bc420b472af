"""What is drawn while a run trains, and what happens when it cannot be drawn."""

import logging
import time

import cv2
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from gcnet_jax.parallel import InputShard
from gcnet_jax.tasks.configs import load_config
from gcnet_jax.tasks.segmentation.data import DATA_SETS, evaluation_batches
from gcnet_jax.tasks.segmentation.evaluation import Predicted
from gcnet_jax.tasks.segmentation.training_pictures import TrainingPictures
from gcnet_jax.training import RunLog, curves
from tests.training_batches import labelled_batches

ALL = InputShard(0, 1)
CELL, GAP, LINE = 320, 6, 20  # of the pictures, in pixels


@pytest.fixture
def config(root, shapes_dir):
    config = load_config(root / "configs" / "context_shapes" / "gcnet.py")
    config.data.data_dir = str(shapes_dir)
    return config


@pytest.fixture(params=["disk", "bucket"])
def workdir(request, tmp_path):
    return epath.Path(tmp_path) if request.param == "disk" else request.getfixturevalue("bucket")


def log_of(workdir):
    return RunLog(
        workdir, first_step=0, total_steps=9, log_every=1, best_metric="mIoU", batch_size=16
    )


def pictures_of(config, workdir, log, shard=ALL):
    classes = DATA_SETS.meaning(config.data.name, config.data.data_dir)
    return TrainingPictures(config, classes, workdir, shard, log.picture)


def evaluate(config, pictures, shard=ALL):
    """Hands over labels for predictions, as of a perfect network."""
    of_part = {"shard_index": shard.index, "shard_count": shard.count}
    for batch in evaluation_batches(config, "val", **of_part):
        areas = jnp.zeros((len(batch["label"]), 3, 7), jnp.int32)  # which it does not look at
        pictures.look(batch, Predicted(jnp.asarray(batch["label"]), areas))


def read(path):
    return cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def cell(picture, row, column):
    """Of a picture of context_shapes, whose images are twice as wide as high."""
    left = GAP + column * (CELL + GAP)
    top = LINE + row * (LINE + CELL // 2 + GAP) + LINE
    return picture[top : top + CELL // 2, left : left + CELL]


def test_a_run_leaves_its_first_batch_and_the_same_images_after_each_evaluation(config, workdir):
    batch = next(labelled_batches(config.data, batch_size=16, seed=0))
    with log_of(workdir) as log, pictures_of(config, workdir, log) as pictures:
        pictures.first_batch(batch)
        log.step(1, {"loss": 2.0, "learning_rate": 0.1})
        for step in (100, 200):
            evaluate(config, pictures)
            pictures.evaluated(step)
        pictures.finish()
    names = ["first_batch.png", "step_000100.png", "step_000200.png"]
    assert sorted(path.name for path in (workdir / "pictures").iterdir()) == names
    first, step_100, step_200 = (read(workdir / "pictures" / name) for name in names)
    np.testing.assert_array_equal(step_100, step_200)
    enlarged = cv2.resize(batch["image"][1], (CELL, CELL // 2), interpolation=cv2.INTER_NEAREST)
    np.testing.assert_array_equal(cell(first, 1, 0), enlarged)
    for row in range(4):
        assert len(np.unique(cell(step_100, row, 1))) > 3
        np.testing.assert_array_equal(cell(step_100, row, 1), cell(step_100, row, 2))
    assert read(workdir / "curves.png").shape[2] == 3
    events = next((workdir / "tensorboard").iterdir()).read_bytes()
    assert events.count(b"val/examples") == 2
    assert events.count(b"train/first_batch") == 1


def test_of_several_processes_the_first_draws_images_of_its_own_part(config, tmp_path):
    config.evaluation.batch_size, first = 64, InputShard(0, 4)
    workdir = epath.Path(tmp_path)
    with log_of(workdir) as log, pictures_of(config, workdir, log, first) as pictures:
        evaluate(config, pictures, first)
        pictures.evaluated(5)
    assert read(tmp_path / "pictures" / "step_000005.png") is not None


def test_without_pictures_only_the_curves_are_drawn_in_the_end(config, tmp_path):
    config.training.pictures = 0
    workdir = epath.Path(tmp_path)
    with log_of(workdir) as log, pictures_of(config, workdir, log) as pictures:
        pictures.first_batch(next(labelled_batches(config.data, batch_size=16, seed=0)))
        evaluate(config, pictures)
        pictures.evaluated(5)
        assert not (tmp_path / "curves.png").exists()
        pictures.finish()
    assert (tmp_path / "curves.png").exists()
    assert not (tmp_path / "pictures").exists()


def test_the_curves_are_drawn_once_a_minute_at_most_and_in_the_end(config, tmp_path, monkeypatch):
    drawn, clock = [], [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(curves, "save_curves", lambda *_: drawn.append("curves"))
    workdir = epath.Path(tmp_path)
    with log_of(workdir) as log, pictures_of(config, workdir, log) as pictures:
        for seconds in (1010, 1040, 1069, 1071, 1100):
            clock[0] = seconds
            pictures.evaluated(seconds)
        pictures.finish()
    assert len(drawn) == 3  # at 1010 and 1071, and in the end


def test_what_cannot_be_drawn_is_said_and_training_goes_on(config, tmp_path, caplog):
    (tmp_path / "pictures").write_text("in the way")
    (tmp_path / "curves.png").mkdir()
    workdir = epath.Path(tmp_path)
    with (
        caplog.at_level(logging.WARNING),
        log_of(workdir) as log,
        pictures_of(config, workdir, log) as pictures,
    ):
        pictures.first_batch(next(labelled_batches(config.data, batch_size=16, seed=0)))
        pictures.evaluated(7)  # of which it has seen nothing
        pictures.finish()
    said = [record.getMessage() for record in caplog.records]
    assert [line.partition(" was not drawn: ")[0] for line in said] == [
        "pictures/first_batch.png",
        "pictures/step_000007.png",
        "curves.png",
    ]
