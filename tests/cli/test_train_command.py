import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from gcnet_jax.cli.command import PREEMPTED
from gcnet_jax.tasks import runs
from gcnet_jax.training import read_rows


def final_arrays(workdir, step=30):
    """Everything that the last checkpoint holds: parameters, statistics, optimizer, step, seed."""
    folder = workdir / "checkpoints" / str(step)
    with ocp.StandardCheckpointer() as checkpointer:
        parts = {name: checkpointer.restore(folder / name) for name in ("model", "training")}
    parts["data"] = json.loads((folder / "data" / "metadata").read_text())
    return {jax.tree_util.keystr(path): x for path, x in jax.tree.leaves_with_path(parts)}


def comparable(rows):
    return [{k: v for k, v in row.items() if k != "images_per_second"} for row in rows]


def kill_after(step, delay, root, environment, arguments):
    """Starts training, and kills it `delay` seconds after it reports `step`; returns its output."""
    process = subprocess.Popen(
        [sys.executable, str(root / "scripts" / "train.py"), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    output = []
    assert process.stdout is not None
    for line in process.stdout:
        output.append(line)
        if line.startswith(f"step {step}/"):
            time.sleep(delay)
            os.kill(process.pid, signal.SIGKILL)
            break
    process.wait()
    return "".join(output)


def test_killed_at_random_moments_and_resumed_it_ends_bitwise_like_a_run_never_interrupted(
    of_each_task, process, root, environment, tmp_path
):
    tiny, undisturbed = of_each_task
    arguments = [*tiny, f"--workdir={tmp_path}"]
    moments = random.Random(0)
    resumed = []
    for first, last in ((1, 4), (6, 14), (16, 24)):
        step, delay = moments.randint(first, last), moments.random() / 20
        output = kill_after(step, delay, root, environment, arguments)
        resumed.append("resuming after step" in output)
        assert not (tmp_path / "checkpoints" / "30").exists(), "killed too late to prove anything"
    # The first kill comes before the first checkpoint, the last well after it.
    assert (resumed[0], resumed[-1]) == (False, True)
    finished = process("train", *arguments)
    assert finished.returncode == 0, finished.stderr
    assert "resuming after step" in finished.stdout

    expected, actual = final_arrays(undisturbed), final_arrays(tmp_path)
    assert expected.keys() == actual.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array, err_msg=name)
    assert comparable(read_rows(tmp_path)) == comparable(read_rows(undisturbed))


def test_told_to_stop_it_saves_says_so_by_its_status_and_ends_bitwise_like_a_run_never_stopped(
    of_each_task, process, root, environment, tmp_path
):
    """SIGTERM to all its processes, data workers too, as schedulers send it."""
    tiny, undisturbed = of_each_task
    arguments = [*tiny, "--config.data.num_workers=1", f"--workdir={tmp_path}"]
    stopped = subprocess.Popen(
        [sys.executable, str(root / "scripts" / "train.py"), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert stopped.stdout is not None
    for line in stopped.stdout:
        if line.startswith("step 7/"):
            os.killpg(stopped.pid, signal.SIGTERM)
            break
    _, errors = stopped.communicate(timeout=400)
    assert stopped.returncode == PREEMPTED, errors
    said = re.fullmatch(r"preempted: stopped after step (\d+), which is saved; .*", errors.strip())
    assert said is not None, errors
    assert int(said[1]) >= 7
    assert (tmp_path / "checkpoints" / said[1]).exists()

    finished = process("train", *arguments)
    assert finished.returncode == 0, finished.stderr
    assert f"resuming after step {said[1]}" in finished.stdout
    expected, actual = final_arrays(undisturbed), final_arrays(tmp_path)
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array, err_msg=name)


def test_a_run_says_what_it_does_and_leaves_its_config(trained):
    saved = json.loads((trained / "config.json").read_text())
    assert saved["config"]["training"]["total_steps"] == 30
    assert saved["classes"]["names"][1] == "sky"
    steps = [row["step"] for row in read_rows(trained) if row["split"] == "train"]
    assert steps == list(range(1, 31))
    evaluated = [row for row in read_rows(trained) if row["split"] == "val"]
    assert [row["step"] for row in evaluated] == [15, 30]
    assert 0 < evaluated[-1]["mIoU"] < 1
    by_class = [value for name, value in evaluated[-1].items() if name.startswith("IoU/")]
    assert np.mean(by_class) == pytest.approx(evaluated[-1]["mIoU"])
    drawn = sorted(path.name for path in (trained / "pictures").iterdir())
    assert drawn == ["first_batch.png", "step_000015.png", "step_000030.png"]


def test_drawing_changes_nothing_of_a_run(trained, tiny, command, tmp_path):
    process = command("train", *tiny, "--config.training.pictures=0", f"--workdir={tmp_path}")
    assert process.returncode == 0, process.stderr
    assert not (tmp_path / "pictures").exists()
    expected, actual = final_arrays(trained), final_arrays(tmp_path)
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array, err_msg=name)
    assert comparable(read_rows(tmp_path)) == comparable(read_rows(trained))


@pytest.mark.campaign
def test_worker_processes_give_the_same_run_as_threads(trained, tiny, command, tmp_path):
    process = command(
        "train", *tiny, "--config.data.num_workers=2", f"--workdir={tmp_path / 'run'}"
    )
    assert process.returncode == 0, process.stderr
    expected, actual = final_arrays(trained), final_arrays(tmp_path / "run")
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array, err_msg=name)


@pytest.mark.campaign
def test_a_config_of_camvid_trains_from_the_command_line(command, fails, root, tmp_path):
    """The small CamVid configuration, narrowed, on a generated tree in CamVid's layout."""
    rng = np.random.default_rng(0)
    import cv2

    for split, count in (("train", 6), ("val", 2), ("test", 2)):
        for kind in ("", "annot"):
            (tmp_path / "camvid" / f"{split}{kind}").mkdir(parents=True)
        for i in range(count):
            label = np.repeat(rng.integers(0, 12, (45, 1)), 60, 1).repeat(8, 0).repeat(8, 1)
            image = rng.integers(0, 256, (360, 480, 3))
            cv2.imwrite(str(tmp_path / "camvid" / split / f"{i}.png"), image)
            cv2.imwrite(str(tmp_path / "camvid" / f"{split}annot" / f"{i}.png"), label)
    arguments = (
        "camvid",
        "--subset",
        f"--source={tmp_path / 'camvid'}",
        f"--data_dir={tmp_path / 'data'}",
    )
    assert command("prepare_dataset", *arguments).returncode == 0
    process = command(
        "train",
        f"--config={root}/configs/camvid/gcnet_r18-d16_1xb8-1600_camvid-240x320.py",
        f"--workdir={tmp_path / 'run'}",
        f"--config.data.data_dir={tmp_path / 'data'}",
        "--config.model.backbone.base_channels=8",
        "--config.model.decode_head.channels=8",
        "--config.data.crop_size=(72,96)",
        "--config.training.total_steps=3",
        "--config.training.batch_size=4",
        "--config.training.accumulation_steps=2",
        "--config.evaluation.batch_size=2",
    )
    assert process.returncode == 0, process.stderr
    assert "step 3  val  aAcc" in process.stdout
    assert re.search(
        r"done in \d+ s; the best mIoU on val is [\d.]+%, after step 3", process.stdout
    )
    assert f"next: gcnet evaluate {tmp_path / 'run'}" in process.stdout


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("--config.optimizer.learning_rat=0.1", "learning_rat"),
        ("--config.training.total_steps=many", "many"),
        ("--confg.seed=1", "confg"),
    ],
)
def test_a_misspelt_key_or_value_is_named(fails, tiny, tmp_path, override, says):
    fails("train", *tiny, override, f"--workdir={tmp_path}", says=says, code=2)


@pytest.mark.parametrize("words", [1, 2])
def test_what_overrides_a_config_may_stand_before_it(fails, root, tmp_path, words):
    config = root / "configs" / "context_shapes" / "gcnet.py"
    fails(
        "train",
        f"--config.data.data_dir={tmp_path / 'empty'}",
        f"--workdir={tmp_path / 'run'}",
        *([f"--config={config}"] if words == 1 else ["--config", str(config)]),
        "--config.training.batch_size=2",
        says=f"not prepared in {tmp_path / 'empty'}",
    )


def test_of_an_override_that_is_given_twice_the_last_counts_and_tuples_are_not_joined(
    fails, tiny, tmp_path
):
    twice = ("--config.data.crop_size=(32,48)", "--config.data.crop_size=(5,)")
    says = "data.crop_size is (5,); expected 2 numbers"
    fails("train", *tiny, *twice, f"--workdir={tmp_path / 'run'}", says=says)
    words = ("--config.data.crop_size", "(32,48)") * 2
    says = "--config.data.crop_size is given 2 times"
    fails("train", *tiny, *words, f"--workdir={tmp_path / 'run'}", says=says, code=2)


def test_a_missing_config_file_is_named(fails, tmp_path):
    fails("train", "--config=nowhere.py", f"--workdir={tmp_path}", says="nowhere.py", code=2)


def test_without_a_workdir_it_says_what_is_missing(fails, tiny):
    fails("train", *tiny, says="--workdir is required", code=2)


def test_data_that_is_not_prepared_is_named_with_the_command_that_prepares_it(
    fails, tiny, tmp_path
):
    fails(
        "train",
        *tiny,
        f"--config.data.data_dir={tmp_path}",
        f"--workdir={tmp_path / 'run'}",
        says="gcnet prepare_dataset context_shapes",
    )
    assert not (tmp_path / "run").exists()


def test_a_batch_that_does_not_divide_by_the_devices_is_refused(fails, tiny, tmp_path):
    fails(
        "train",
        *tiny,
        "--config.training.batch_size=6",
        f"--workdir={tmp_path}",
        says="training.batch_size is 6, which does not divide evenly over 4 devices",
        devices=4,
    )


def test_a_workdir_with_another_models_checkpoints_is_refused(fails, tiny, trained):
    before = sorted(p.name for p in (trained / "checkpoints").iterdir())
    fails(
        "train",
        *tiny,
        "--config.model.decode_head.channels=16",
        f"--workdir={trained}",
        says="decode_head.channels: 8 -> 16",
    )
    assert sorted(p.name for p in (trained / "checkpoints").iterdir()) == before


def test_a_truncated_newest_checkpoint_is_reported_and_the_run_goes_on(
    tiny, trained, command, tmp_path
):
    import shutil

    shutil.copytree(trained, tmp_path / "run")
    newest = tmp_path / "run" / "checkpoints" / "30"
    victim = max(newest.rglob("*"), key=lambda p: p.stat().st_size if p.is_file() else 0)
    victim.write_bytes(victim.read_bytes()[:100])
    process = command("train", *tiny, f"--workdir={tmp_path / 'run'}")
    assert process.returncode == 0, process.stderr
    assert f"{newest} cannot be read" in process.stderr
    assert "Traceback" not in process.stderr
    expected, actual = final_arrays(trained), final_arrays(tmp_path / "run")
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array, err_msg=name)


def test_a_loss_that_is_not_finite_ends_the_command_with_the_step(fails, tiny, tmp_path):
    fails(
        "train",
        *tiny,
        "--config.optimizer.learning_rate=1e30",
        "--config.training.checkpoint_every=1",
        f"--workdir={tmp_path}",
        says="training diverged",
    )
    for folder in (tmp_path / "checkpoints").glob("[0-9]*"):
        for name, array in final_arrays(tmp_path, folder.name).items():
            assert np.isfinite(array).all(), (folder.name, name)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("--config.evaluation.split=vla", "has no split 'vla'"),
        ("--config.data.crop_size=(5,)", "data.crop_size is (5,); expected 2 numbers"),
    ],
)
def test_what_only_shows_later_is_refused_before_training(fails, tiny, tmp_path, override, says):
    fails("train", *tiny, override, f"--workdir={tmp_path / 'run'}", says=says)
    assert not (tmp_path / "run").exists()


def test_a_workdir_that_cannot_be_made_is_named(fails, tiny, tmp_path):
    (tmp_path / "file").write_text("")
    says = f"--workdir: {tmp_path / 'file'} is a file; expected the folder of a run"
    fails("train", *tiny, f"--workdir={tmp_path / 'file'}", says=says, code=2)


def test_what_to_do_next_names_the_config_of_a_task_of_ones_own(
    command, root, tmp_path, monkeypatch
):
    """No folder of a run may say which code is imported."""
    package = tmp_path / "mine" / "shapes"
    package.mkdir(parents=True)
    (package / "config.py").write_text(
        "from gcnet_jax.tasks.segmentation.config import SCHEMA, default_config\n"
    )
    (tmp_path / "run.py").write_text(
        "from mine.shapes.config import default_config\n\n\n"
        "def get_config():\n    config = default_config()\n"
        "    config.task = 'mine.shapes'\n    return config\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(runs, "train_from_config", lambda *given, **options: None)
    shapes = root / "configs" / "context_shapes" / "gcnet.py"
    for config, told in (("run.py", " --config=run.py --config.seed 3"), (shapes, "")):
        given = (f"--config={config}", "--config.seed", "3", "--workdir=out")
        done = command("train", *given, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [
            f"next: gcnet evaluate out{told}",
            f"      gcnet predict out{told} photo.jpg --output_dir=predictions",
        ]


def test_a_config_that_python_cannot_run_is_named(fails, tmp_path):
    (tmp_path / "broken.py").write_text("def get_config(:\n")
    says = f"{tmp_path / 'broken.py'}: SyntaxError"
    fails("train", f"--config={tmp_path / 'broken.py'}", f"--workdir={tmp_path}", says=says, code=2)


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("log_every", "training.log_every is 0; expected 1 or more"),
        ("accumulation_steps", "training.accumulation_steps is 0; expected 1 or more"),
        ("checkpoint_every", "training.checkpoint_every and epochs.checkpoint_every are both 0"),
    ],
)
def test_a_count_of_zero_is_refused_with_its_key(fails, tiny, tmp_path, key, says):
    fails("train", *tiny, f"--config.training.{key}=0", f"--workdir={tmp_path}", says=says)
