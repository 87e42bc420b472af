"""What a run logs: rows and events, on a disk and in a bucket."""

import contextlib
import io
import json
import logging
import math
import os
import pty
import re
import struct
import sys
import time

import cv2
import numpy as np
import pytest
from etils import epath
from hypothesis import given
from hypothesis import strategies as st
from tensorboardX.proto import event_pb2

from gcnet_jax.errors import InputError
from gcnet_jax.task import Scores
from gcnet_jax.training import RunLog, doing, read_rows

METRICS = {"loss": 2.0, "learning_rate": 0.1}


@pytest.fixture(params=["disk", "bucket"])
def workdir(request, tmp_path):
    return epath.Path(tmp_path) if request.param == "disk" else request.getfixturevalue("bucket")


def log_of(workdir, first_step=0):
    return RunLog(
        workdir,
        first_step=first_step,
        total_steps=100,
        log_every=2,
        best_metric="mIoU",
        batch_size=4,
    )


def steps(workdir):
    return [(row["step"], row["split"]) for row in read_rows(workdir)]


def events(workdir):
    return sum(path.stat().length for path in (workdir / "tensorboard").iterdir())


def test_rows_and_events_are_there_when_the_run_ends(workdir):
    with log_of(workdir) as log:
        for step in range(1, 7):
            log.step(step, METRICS)
        log.evaluation(6, "val", Scores({"mIoU": 0.5}))
    assert steps(workdir) == [(2, "train"), (4, "train"), (6, "train"), (6, "val")]
    assert events(workdir) > 7 * 30  # bytes; three values a row, one of the evaluation
    content = next((workdir / "tensorboard").iterdir()).read_bytes()
    for tag in (b"train/loss", b"train/images_per_second", b"val/mIoU"):
        assert tag in content


def values_of_events(workdir):
    """What TensorBoard is told, by tag; a record has 12 bytes before its content and 4 behind."""
    content, values = next((workdir / "tensorboard").iterdir()).read_bytes(), {}
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        event = event_pb2.Event.FromString(content[12 : 12 + length])
        values |= {value.tag: (event.step, value) for value in event.summary.value}
        content = content[16 + length :]
    return values


def test_parts_of_a_metric_are_logged_whatever_their_names_and_not_shown(workdir, capsys):
    parts = {"IoU/sky": 0.25, "IoU/山": 0.5, "IoU/川": 0.75, "IoU/a b": 1.0, "IoU/a_b": 0.0}
    with log_of(workdir) as log:
        log.evaluation(6, "val", Scores({"mIoU": 0.5}, parts, "over 5 of 7 classes"))
    assert read_rows(workdir) == [{"step": 6, "split": "val", "mIoU": 0.5, **parts}]
    values = values_of_events(workdir)
    assert values.keys() == {"val/mIoU", *(f"val_{name}" for name in parts)}
    assert values["val_IoU/川"][1].simple_value == 0.75
    printed = capsys.readouterr().out
    assert "mIoU 50.00% (best)  (over 5 of 7 classes)" in printed
    assert "sky" not in printed


def test_pictures_and_texts_are_shown_in_tensorboard(workdir):
    png = cv2.imencode(".png", np.zeros((4, 6, 3), np.uint8))[1].tobytes()
    with log_of(workdir) as log:
        log.text(0, "config", "    seed = 0")
        log.picture(6, "val/examples", png, (4, 6))
    values = values_of_events(workdir)
    step, value = values["val/examples"]
    assert step == 6
    assert value.image.encoded_image_string == png
    assert (value.image.height, value.image.width, value.image.colorspace) == (4, 6, 3)
    text = values["config/text_summary"][1]
    assert text.metadata.plugin_data.plugin_name == "text"
    assert text.tensor.string_val == [b"    seed = 0"]


def test_a_checkpoint_never_knows_of_rows_that_a_kill_would_lose(workdir):
    log = log_of(workdir)  # and never left, as if killed
    for step in range(1, 5):
        log.step(step, METRICS)
    before = events(workdir)
    with log.paused():
        assert steps(workdir) == [(2, "train"), (4, "train")]
        assert events(workdir) > before
        log.evaluation(4, "val", Scores({"mIoU": 0.5}))
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
        "gcnet_jax.training.rows.write_whole", lambda path, content: written.append(path)
    )
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    log = log_of(workdir)
    for step in range(1, 201):
        clock[0] += 0.5
        log.step(step, METRICS)
    rows = [path for path in written if str(path).endswith("metrics.jsonl")]
    assert 8 <= len(rows) <= 12  # in 100 seconds


DAMAGED_LINES = (
    b"\xff",
    b"7",
    b'{"step": 3',
    b'{"step": "3", "split": "train"}',
    b'{"step": 3, "split": "train", "loss": "low"}',
    b'{"step": 1e30, "split": "train"}',
    b'{"step": 3, "split": "train", "loss": 1' + b"0" * 400 + b"}",
    b"[" * 100_000,
    b"9" * 5000,
)


def test_damaged_lines_are_reported_and_left_out_once_and_for_all(workdir, caplog):
    with log_of(workdir) as log:
        for step in range(1, 5):
            log.step(step, METRICS)
    path = workdir / "metrics.jsonl"
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([lines[0], *DAMAGED_LINES, lines[1], b'{"step": ']))
    with caplog.at_level(logging.WARNING):
        assert steps(workdir) == [(2, "train"), (4, "train")]
    assert [record.getMessage() for record in caplog.records] == [
        f"Damaged lines of {path} are left out: 2, 3, 4, 5, 6, 7, 8, 9, 10, 12."
    ]
    with log_of(workdir, first_step=4):
        pass
    caplog.clear()
    assert steps(workdir) == [(2, "train"), (4, "train")]
    assert not caplog.records


@given(st.binary(max_size=80))
def test_a_log_of_any_bytes_is_read(tmp_path_factory, content):
    workdir = tmp_path_factory.mktemp("any")
    (workdir / "metrics.jsonl").write_bytes(content)
    assert read_rows(workdir) == []


def test_rates_and_the_time_left_leave_out_the_first_step(tmp_path, monkeypatch, capsys):
    """Which waits for the compiler: 1000 s here, and half a second each of the others."""
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with log_of(tmp_path) as log:
        for step in range(1, 7):
            clock[0] += 1000 if step == 1 else 0.5
            log.step(step, METRICS)
            if step == 3:
                with log.paused():
                    clock[0] += 70
    rates = [row["images_per_second"] for row in read_rows(tmp_path)]
    assert rates == [pytest.approx(8)] * 3
    content = next((tmp_path / "tensorboard").iterdir()).read_bytes()
    assert content.count(b"train/images_per_second") == 3
    assert "8.0 images/s  0:00:49 left" in capsys.readouterr().out


def test_a_row_of_the_first_step_alone_has_no_rate(tmp_path, capsys):
    options = {
        "first_step": 0,
        "total_steps": 4,
        "log_every": 1,
        "best_metric": "mIoU",
        "batch_size": 4,
    }
    with RunLog(tmp_path, **options) as log:
        log.step(1, METRICS)
        log.step(2, METRICS)
    assert ["images_per_second" in row for row in read_rows(tmp_path)] == [False, True]
    assert "images/s" not in capsys.readouterr().out.splitlines()[0]


def test_what_was_measured_before_a_stop_counts_in_the_row_after_it(tmp_path):
    values = [{"loss": 0.1 * 3**step, "learning_rate": 0.1 / step} for step in range(1, 9)]
    options = {"total_steps": 8, "log_every": 4, "best_metric": "mIoU", "batch_size": 4}
    with RunLog(tmp_path / "whole", first_step=0, **options) as log:
        for step, metrics in enumerate(values, start=1):
            log.step(step, metrics)
    with RunLog(tmp_path / "parts", first_step=0, **options) as log:
        for step, metrics in enumerate(values[:6], start=1):
            log.step(step, metrics)
        unlogged = json.loads(json.dumps(log.unlogged()))
    with RunLog(tmp_path / "parts", first_step=6, unlogged=unlogged, **options) as log:
        for step, metrics in enumerate(values[6:], start=7):
            log.step(step, metrics)
    rows = [
        [{k: v for k, v in row.items() if k != "images_per_second"} for row in read_rows(folder)]
        for folder in (tmp_path / "whole", tmp_path / "parts")
    ]
    assert len(rows[0]) == 2
    assert rows[0] == rows[1]


def test_metrics_of_other_names_are_not_averaged_together(tmp_path):
    options = {
        "first_step": 1,
        "total_steps": 2,
        "log_every": 2,
        "best_metric": "mIoU",
        "batch_size": 4,
    }
    with RunLog(tmp_path, **options, unlogged=[{"loss": 9.0, "learning_rate": 1.0, "x": 0}]) as log:
        log.step(2, METRICS)
    assert read_rows(tmp_path)[0]["loss"] == METRICS["loss"]


def test_when_nobody_reads_any_more_it_says_so_once_and_goes_on_to_log(tmp_path, monkeypatch):
    """As in `train | head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setattr(sys, "stdout", os.fdopen(writer, "w"))
    asked = []
    options = {
        "first_step": 0,
        "total_steps": 4,
        "log_every": 1,
        "best_metric": "mIoU",
        "batch_size": 4,
    }
    with RunLog(tmp_path, **options, unread=lambda: asked.append(1)) as log:
        log.message("hello")
        for step in (1, 2, 3):
            log.step(step, METRICS)
    sys.stdout.close()  # as at the end of a program
    assert asked == [1]
    assert [row["step"] for row in read_rows(tmp_path)] == [1, 2, 3]


def test_a_terminal_shows_progress_and_may_be_closed(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    ours, its = pty.openpty()
    monkeypatch.setattr(sys, "stdout", os.fdopen(its, "w"))
    asked = []
    options = {
        "first_step": 0,
        "total_steps": 100,
        "log_every": 2,
        "best_metric": "mIoU",
        "batch_size": 4,
    }
    with RunLog(tmp_path, **options, unread=lambda: asked.append(1)) as log:
        log.message("hello")
        for step in (1, 2, 3, 4):
            log.step(step, METRICS)
        time.sleep(0.2)  # the bar is drawn ten times a second
        shown = os.read(ours, 100_000).decode()
        assert not asked
        os.close(ours)
        log.message("nobody sees this")
        assert asked == [1]
    assert "hello" in shown
    assert "4/100" in shown
    assert [row["step"] for row in read_rows(tmp_path)] == [2, 4]


@pytest.mark.parametrize("columns", [80, 120])
def test_a_terminal_shows_what_is_under_way_and_where_it_is_narrow_the_most_important(
    tmp_path, monkeypatch, columns
):
    monkeypatch.setenv("COLUMNS", str(columns))
    ours, its = pty.openpty()
    monkeypatch.setattr(sys, "stdout", os.fdopen(its, "w"))
    options = {
        "first_step": 0,
        "total_steps": 160_000,
        "log_every": 2,
        "best_metric": "mIoU",
        "batch_size": 4,
    }
    with doing("reading"):
        pass
    with RunLog(tmp_path, **options) as log:
        for step in (1, 2):
            log.step(step, METRICS)
        with log.stage("validating", 100) as advance:
            advance(40)
            time.sleep(0.2)  # the bar is drawn ten times a second
        log.evaluation(2, "val", Scores({"aAcc": 0.25, "mIoU": 0.5}))
    shown = re.sub(r"\x1b\[[\d;?]*\w", "", os.read(ours, 100_000).decode())
    os.close(ours)
    assert "reading 0:00:00" in shown
    assert re.search(r"validating \S+ 40/100 +0:00:00", shown)
    wide = columns >= 100
    assert ("lr 1.00e-01" in shown) == wide
    assert ("aAcc 25.00%" in shown) == wide
    assert "mIoU 50.00% (best)" in shown
    bars = [line for line in shown.splitlines() if line.startswith("training") and "loss" in line]
    assert bars
    assert all(" left" in line and len(line) <= columns for line in bars)


def test_outside_a_terminal_nothing_but_lines_is_shown(tmp_path, capsys):
    with doing("reading"), log_of(tmp_path) as log, log.stage("validating", 100) as advance:
        advance(40)
    assert not capsys.readouterr().out


def test_of_equal_evaluations_the_last_is_the_best_as_its_checkpoint_is(tmp_path):
    with log_of(tmp_path) as log:
        for step in (2, 4, 6):
            log.evaluation(step, "val", Scores({"mIoU": 0.0}))
        assert log.best("val") == (6, 0.0)


def test_the_best_evaluation_so_far_is_marked_after_a_restart_too(tmp_path, capsys):
    with log_of(tmp_path) as log:
        assert log.best("val") is None
        for step, value in ((2, math.nan), (4, 0.25), (6, 0.5), (8, 0.75)):
            log.evaluation(step, "val", Scores({"mIoU": value, "aAcc": 0.9}))
        assert log.best("val") == (8, 0.75)
    with log_of(tmp_path, first_step=6) as log:  # what came of step 8 is forgotten
        log.evaluation(7, "test", Scores({"mIoU": 0.125}))
        log.evaluation(8, "val", Scores({"mIoU": 0.5}))
        log.evaluation(10, "val", Scores({"mIoU": 0.625}))
        assert log.best("val") == (10, 0.625)
    marked = ["(best)" in line for line in capsys.readouterr().out.splitlines()]
    assert marked == [False, True, True, True, True, True, True]


def test_without_any_output_it_logs(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with log_of(tmp_path) as log:
        log.message("hello")
        log.step(2, METRICS)
    assert [row["step"] for row in read_rows(tmp_path)] == [2]


def test_characters_that_the_output_cannot_show_are_escaped(tmp_path, monkeypatch):
    output = io.TextIOWrapper(io.BytesIO(), encoding="latin1")
    monkeypatch.setattr(sys, "stdout", output)
    with log_of(tmp_path) as log:
        log.message("größe 山")
    assert output.buffer.getvalue().decode("latin1").splitlines()[0] == r"größe \u5c71"


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
    options = {
        "first_step": 0,
        "total_steps": 4,
        "log_every": 2,
        "best_metric": "mIoU",
        "batch_size": 4,
    }
    with RunLog(workdir, **options, writes=False) as log, contextlib.suppress(StopIteration):
        log.step(1, METRICS)
        log.step(2, METRICS)
        log.evaluation(2, "val", Scores({"mIoU": 0.5}))
        log.picture(2, "examples", b"", (1, 1))
        log.text(2, "config", "")
    assert not list(workdir.iterdir())
