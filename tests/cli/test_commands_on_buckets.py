"""Commands whose data and runs lie in a bucket; see `tests/cloud_storage.py` for what stands in."""

import json
import os
import re
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest

from gcnet_jax.training import read_rows
from tests.cli.test_train_command import comparable, final_arrays
from tests.cloud_storage import upload


@pytest.fixture
def arguments(tiny, bucket, shapes_dir):
    """Arguments of the tiny run, with its data in the bucket."""
    upload(shapes_dir, bucket / "data")
    return (*tiny, f"--config.data.data_dir={bucket}/data")


def train_until(line_start, arguments, root):
    """Starts training and kills it when it prints such a line."""
    process = subprocess.Popen(
        [sys.executable, str(root / "scripts" / "train.py"), *arguments],
        env={**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(line_start):
            process.send_signal(signal.SIGKILL)
            break
    process.wait()


@pytest.mark.slow
def test_a_run_in_a_bucket_survives_a_kill_and_damage_and_ends_bitwise_like_a_local_one(
    arguments, bucket, process, root, storage, undisturbed
):
    workdir = bucket / "runs" / "tiny"
    arguments = (*arguments, f"--workdir={workdir}")
    train_until("step 23/", arguments, root)
    names = [path.removeprefix(f"{bucket.name}/") for path in storage.contents]
    steps = {int(n.split("/")[3]) for n in names if n.startswith("runs/tiny/checkpoints/")}
    assert 10 <= max(steps) <= 20, "killed too early or too late to prove anything"
    newest = max(n for n in names if re.match(r"runs/tiny/checkpoints/\d+/model/d/", n))
    path = f"{bucket.name}/{newest}"
    storage.put(path, storage.contents[path][:20])

    finished = process("train", *arguments)
    assert finished.returncode == 0, finished.stderr
    assert "cannot be read" in finished.stderr
    assert re.search(r"resuming after step (5|10|15)\n", finished.stdout)
    assert list((workdir / "checkpoints_damaged").iterdir())
    expected, actual = final_arrays(undisturbed), final_arrays(workdir)
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array, err_msg=name)
    assert comparable(read_rows(workdir)) == comparable(read_rows(undisturbed))
    assert (workdir / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((workdir / "config.json").read_text())["classes"]["names"]


@pytest.mark.slow
def test_what_was_trained_in_a_bucket_is_evaluated_and_predicts_there(
    arguments, bucket, command, trained
):
    upload(trained, bucket / "run")
    assert_succeeds(command("evaluate", *arguments, f"--workdir={bucket}/run", "--split=test"))
    assert_succeeds(command("evaluate", *arguments, f"--workdir={trained}", "--split=test"))
    ours, theirs = (
        json.loads((where / "evaluation_test.json").read_text())["confusion"]
        for where in (bucket / "run", trained)
    )
    assert ours == theirs
    assert (bucket / "run" / "evaluation_test.png").exists()
    assert "Worst images" in (bucket / "run" / "report_test.html").read_text()

    image = np.zeros((96, 160, 3), np.uint8)
    (bucket / "photos" / "a.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
    options = (f"--workdir={bucket}/run", f"--output_dir={bucket}/predicted", "--save_logits")
    assert_succeeds(command("predict", *arguments, *options, f"{bucket}/photos"))
    results = {path.name for path in (bucket / "predicted").iterdir()}
    assert results == {"a_label.png", "a_overlay.png", "a_logits.npy", "index.html"}


def assert_succeeds(process):
    assert process.returncode == 0, process.stderr
