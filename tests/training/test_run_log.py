"""What a run logs: rows and events, on a disk and in a bucket."""

import contextlib
import logging
import time

import pytest
from etils import epath

from gcnet_jax.errors import InputError
from gcnet_jax.training import RunLog, read_rows

METRICS = {"loss": 2.0, "learning_rate": 0.1}


@pytest.fixture(params=["disk", "bucket"])
def workdir(request, tmp_path):
    return epath.Path(tmp_path) if request.param == "disk" else request.getfixturevalue("bucket")


def log_of(workdir, first_step=0):
    return RunLog(workdir, first_step=first_step, total_steps=100, log_every=2, batch_size=4)


def steps(workdir):
    return [(row["step"], row["split"]) for row in read_rows(workdir)]


def events(workdir):
    return sum(path.stat().length for path in (workdir / "tensorboard").iterdir())


def test_rows_and_events_are_there_when_the_run_ends(workdir):
    with log_of(workdir) as log:
        for step in range(1, 7):
            log.step(step, METRICS)
        log.evaluation(6, "val", {"mIoU": 0.5})
    assert steps(workdir) == [(2, "train"), (4, "train"), (6, "train"), (6, "val")]
    assert events(workdir) > 7 * 30  # bytes; three values a row, one of the evaluation
    content = next((workdir / "tensorboard").iterdir()).read_bytes()
    for tag in (b"train/loss", b"train/images_per_second", b"val/mIoU"):
        assert tag in content


def test_a_checkpoint_never_knows_of_rows_that_a_kill_would_lose(workdir):
    log = log_of(workdir)  # and never left, as if killed
    for step in range(1, 5):
        log.step(step, METRICS)
    before = events(workdir)
    with log.paused():
        assert steps(workdir) == [(2, "train"), (4, "train")]
        assert events(workdir) > before
        log.evaluation(4, "val", {"mIoU": 0.5})
        assert steps(workdir)[-1] == (4, "val")


def test_a_resumed_run_goes_on_behind_its_checkpoint(workdir):
    with log_of(workdir) as log:
        for step in range(1, 11):
            log.step(step, METRICS)
    with log_of(workdir, first_step=4) as log:
        assert steps(workdir) == [(2, "train"), (4, "train")]
        for step in range(5, 9):
            log.step(step, METRICS)
    assert steps(workdir) == [(step, "train") for step in (2, 4, 6, 8)]


def test_files_are_written_seldom_however_often_is_logged(workdir, monkeypatch):
    written = []
    monkeypatch.setattr(
        "gcnet_jax.training.run_log.write_whole", lambda path, content: written.append(path)
    )
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    log = log_of(workdir)
    for step in range(1, 201):
        clock[0] += 0.5
        log.step(step, METRICS)
    rows = [path for path in written if str(path).endswith("metrics.jsonl")]
    assert 8 <= len(rows) <= 12  # in 100 seconds


def test_a_damaged_line_is_reported_and_left_out(workdir, caplog):
    with log_of(workdir) as log:
        for step in range(1, 7):
            log.step(step, METRICS)
    path = workdir / "metrics.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1][:9], "7", lines[2]]) + "\n")
    with caplog.at_level(logging.WARNING):
        log_of(workdir, first_step=6)
    assert steps(workdir) == [(2, "train"), (6, "train")]
    assert [record.getMessage()[:6] for record in caplog.records] == ["Line 2", "Line 3"]


def test_a_bucket_that_refuses_ends_the_run_and_does_not_hang_it(bucket, storage, monkeypatch):
    log = log_of(bucket)
    monkeypatch.setattr(storage, "refuses", "writes")
    for step in range(1, 101):  # many more events than any queue would hold
        log.step(step, METRICS)
    with pytest.raises(InputError, match=r"metrics\.jsonl cannot be written \(Forbidden"):
        log.flush()
    with pytest.raises(InputError, match=r"tensorboard/.* cannot be written \(Forbidden"):
        log._events.flush()


def test_a_process_that_does_not_write_leaves_nothing(workdir):
    options = {"first_step": 0, "total_steps": 4, "log_every": 2, "batch_size": 4}
    with RunLog(workdir, **options, writes=False) as log, contextlib.suppress(StopIteration):
        log.step(1, METRICS)
        log.step(2, METRICS)
        log.evaluation(2, "val", {"mIoU": 0.5})
    assert not list(workdir.iterdir())
