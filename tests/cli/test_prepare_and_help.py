import cv2
import numpy as np
import pytest


@pytest.mark.parametrize(
    ("script", "flags"),
    [
        ("train", ["--config", "--workdir", "checkpoints"]),
        ("evaluate", ["--config", "--workdir", "--checkpoint", "--split", "--output"]),
        ("predict", ["--checkpoint", "--images", "--output_dir", "--save_logits", "_label.png"]),
        ("prepare_dataset", ["--source", "--data_dir", "camvid", "context_shapes"]),
        ("quickstart", ["--output_dir", "--seeds", "page.png"]),
    ],
)
def test_help_says_what_a_command_does_and_takes(command, script, flags):
    process = command(script, "--help")
    assert process.returncode == 0
    assert all(flag in process.stdout for flag in flags), process.stdout
    assert f"python scripts/{script}.py" in process.stdout


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
