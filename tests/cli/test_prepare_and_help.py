from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.official_trees import make_own_images

SCRIPTS = {path.stem for path in (Path(__file__).parents[2] / "scripts").glob("*.py")}


@pytest.mark.parametrize(
    ("script", "flags"),
    [
        ("train", ["--config", "--workdir", "checkpoints"]),
        ("evaluate", ["--config", "--workdir", "--checkpoint", "--split", "--output"]),
        ("predict", ["--checkpoint", "--images", "--output_dir", "--save_logits", "_label.png"]),
        ("prepare_dataset", ["--source", "--pixels", "--subset", "camvid", "voc12aug", "--masks"]),
        ("benchmark", ["--config", "--images", "--rounds", "--size", "input", "inference"]),
        ("collect_results", ["--runs", "--page"]),
        ("quickstart", ["--output_dir", "--seeds", "page.png"]),
    ],
)
def test_help_says_what_a_command_does_and_takes(command, script, flags):
    process = command(script, "--help")
    assert process.returncode == 0
    assert all(flag in process.stdout for flag in flags), process.stdout
    assert f"python scripts/{script}.py" in process.stdout


@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_each_command_starts_as_a_process(process, script):
    finished = process(script, "--help")
    assert finished.returncode == 0, finished.stderr
    assert f"python scripts/{script}.py" in finished.stdout


def test_context_shapes_is_prepared_once(command, tmp_path):
    first = command("prepare_dataset", "context_shapes", f"--data_dir={tmp_path}")
    assert first.returncode == 0, first.stderr
    assert "600 images" in first.stdout
    files = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    assert command("prepare_dataset", "context_shapes", f"--data_dir={tmp_path}").returncode == 0
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()} == files


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "name of one data set"),
        (["imagenet"], "camvid, cityscapes, context_shapes"),
        (["camvid"], "needs a source"),
        (["camvid", "--source=nowhere"], "nowhere is not a folder"),
        (["camvid", "--classes=classes.csv"], "--classes is for 'folder', not for 'camvid'"),
        (["folder"], "--name is required"),
        (["folder", "--name=plants"], "--source is required"),
        (["folder", "--name=plants", "--source=.", "--classes=x", "--images=*.jpg"], "'*.jpg' is"),
    ],
)
def test_what_cannot_be_prepared_is_refused(fails, tmp_path, arguments, says):
    fails("prepare_dataset", *arguments, f"--data_dir={tmp_path}", says=says)


def test_a_label_outside_the_classes_is_named_and_nothing_is_left_that_looks_prepared(
    fails, tiny, tmp_path
):
    for split in ("train", "val", "test"):
        for kind in ("", "annot"):
            (tmp_path / "source" / f"{split}{kind}").mkdir(parents=True)
        image, label = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8)
        label[3, 3] = 12 if split == "val" else 0
        cv2.imwrite(str(tmp_path / "source" / split / "x.png"), image)
        cv2.imwrite(str(tmp_path / "source" / f"{split}annot" / "x.png"), label)
    arguments = ("camvid", f"--source={tmp_path / 'source'}", f"--data_dir={tmp_path / 'data'}")
    fails("prepare_dataset", *arguments, says="1 images in 'train', expected 367")
    fails("prepare_dataset", *arguments, "--subset", says="valannot/x.png")
    fails(
        "train",
        *tiny,
        "--config.data.name=camvid",
        f"--config.data.data_dir={tmp_path / 'data'}",
        f"--workdir={tmp_path / 'run'}",
        says="is not prepared",
    )


@pytest.mark.slow
def test_a_folder_of_own_images_is_prepared_trained_on_evaluated_and_predicted(
    command, tiny, tmp_path
):
    source = make_own_images(tmp_path / "source", {"train": 6, "val": 1})
    process = command(
        "prepare_dataset",
        "folder",
        "--name=plants",
        f"--source={source}",
        "--images=train=train/*/*_rgb.jpg",
        "--images=val=val/*/*_rgb.jpg",
        "--masks=train=train/*/*_label.png",
        "--masks=val=val/*/*_label.png",
        f"--classes={source / 'classes.csv'}",
        f"--data_dir={tmp_path / 'data'}",
        "--pixels=uncompressed",
    )
    assert process.returncode == 0, process.stderr
    assert "train    6 images\nval      1 images" in process.stdout
    config = (
        *tiny,
        "--config.data.name=plants",
        f"--config.data.data_dir={tmp_path / 'data'}",
        "--config.training.total_steps=2",
        "--config.evaluation.split=val",
        "--config.evaluation.batch_size=1",
    )
    run = f"--workdir={tmp_path / 'run'}"
    process = command("train", *config, run)
    assert process.returncode == 0, process.stderr
    process = command("evaluate", *config, run)
    assert process.returncode == 0, process.stderr
    assert all(name in process.stdout for name in ("soil", "leaf", "pot"))
    image = source / "val" / "field" / "0_rgb.jpg"
    output = tmp_path / "predicted"
    process = command("predict", *config, run, f"--images={image}", f"--output_dir={output}")
    assert process.returncode == 0, process.stderr
    label = cv2.imread(str(output / "0_rgb_label.png"), cv2.IMREAD_UNCHANGED)
    assert label.max() < 3
