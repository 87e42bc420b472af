import json
import shlex
import signal
import subprocess
import sys
import time

import cv2
import pytest

from gcnet_jax.cli.runs import is_run
from gcnet_jax.cli.side_by_side import train_side_by_side
from gcnet_jax.errors import InputError, Preempted

STEPS = 250  # by which the block has found the cue


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_shows_a_page_can_be_stopped_and_goes_on_to_where_the_block_is_worth_15_points(
    process, root, environment, tmp_path
):
    arguments = (f"--steps={STEPS}", f"--output_dir={tmp_path}")
    page = tmp_path / "page.png"
    first = subprocess.Popen(
        [sys.executable, root / "scripts" / "quickstart.py", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while first.poll() is None and not page.exists():
        time.sleep(0.2)
    first.send_signal(signal.SIGINT)
    stdout, stderr = first.communicate(timeout=300)
    assert first.returncode == 75, stderr
    assert "2 small networks will be trained, with a global context block and without it" in stdout
    assert f"with the block: step 100/{STEPS}  loss" in stdout
    assert "step 100: mIoU " in stdout
    assert stderr.splitlines()[-1].startswith("interrupted: stopped, with what is done saved; run")
    first_page = page.read_bytes()

    again = process("quickstart", *arguments, seconds=600)
    assert again.returncode == 0, again.stderr
    assert "going on with the runs in" in again.stdout
    assert f"step 20/{STEPS}" not in again.stdout
    results = json.loads((tmp_path / "results.json").read_text())
    miou = {row["network"]: 100 * row["mIoU"] for row in results["mIoU"]}
    assert miou["gcnet"] - miou["fcn"] >= 15, miou
    for value in miou.values():
        assert f"{value:.1f}" in again.stdout
    demo, export = (shlex.split(line.partition(":")[2]) for line in again.stdout.splitlines()[-2:])
    assert demo[:2] == ["gcnet", "demo"]
    assert [run.rpartition("/")[2][:5] for run in demo[2:] if is_run(run)] == ["gcnet", "fcn_s"]
    assert export == ["gcnet", "export", demo[2], f"--output={tmp_path / 'gcnet.gcnet'}"]
    assert page.read_bytes() != first_page
    picture = cv2.imread(str(page))
    assert picture.shape[1] == 1200
    assert picture.std() > 20
    assert color_bars(picture[:, 960:1195]) == 6  # below each image's attention


def color_bars(column):
    """How many bars from black to pale yellow lie below each other across a part of a page."""
    left, right = column[:, 3:8], column[:, -8:-3]
    is_pale = (right[..., 1:] > 200).all((1, 2)) & (right[..., 0] < 200).all(1)
    rows = (left.max((1, 2)) < 40) & is_pale
    return int((rows[1:] > rows[:-1]).sum())


@pytest.fixture(autouse=True)
def _one_device(monkeypatch, environment):
    monkeypatch.setenv("XLA_FLAGS", environment["XLA_FLAGS"])  # of the processes started from here


def test_a_training_that_fails_ends_the_other_with_its_message(tiny, tmp_path):
    with pytest.raises(InputError, match=r"network of today was not trained: data set 'moss' is"):
        train_side_by_side(
            {
                "of yesterday": [*tiny, f"--workdir={tmp_path / 'a'}"],
                "of today": [*tiny, "--config.data.name=moss", f"--workdir={tmp_path / 'b'}"],
            }
        )
    assert not (tmp_path / "a" / "checkpoints" / "30").exists()


def test_what_fails_while_they_train_stops_them(tiny, tmp_path):
    def look():
        raise InputError("the disk is full")

    start = time.monotonic()
    with pytest.raises(InputError, match="the disk is full"):
        train_side_by_side({"of today": [*tiny, f"--workdir={tmp_path / 'run'}"]}, look=look)
    assert time.monotonic() - start < 30
    assert not (tmp_path / "run" / "checkpoints" / "30").exists()


def test_sigterm_stops_them_before_they_listen_for_it(tiny, tmp_path):
    with pytest.raises(Preempted, match="run the same command to go on"):
        train_side_by_side(
            {"of today": [*tiny, f"--workdir={tmp_path / 'run'}"]},
            look=lambda: signal.raise_signal(signal.SIGTERM),
        )
