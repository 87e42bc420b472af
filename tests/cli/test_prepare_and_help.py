from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from gcnet_jax.tasks.segmentation.data import prepare
from tests.official_trees import make_cityscapes, make_own_images

SCRIPTS = {
    path.stem
    for path in (Path(__file__).parents[2] / "scripts").glob("*.py")
    if "run_verb" in path.read_text()
}


@pytest.mark.parametrize(
    ("script", "flags"),
    [
        ("train", ["--config", "--workdir", "checkpoints"]),
        ("evaluate", ["--config", "--workdir", "--checkpoint", "--split", "--output"]),
        ("predict", ["--checkpoint", "--images", "--output_dir", "--save_logits", "_label.png"]),
        ("prepare_dataset", ["--source", "--pixels", "--subset", "camvid", "voc12aug", "--masks"]),
        ("quickstart", ["--output_dir", "--full", "page.png"]),
    ],
)
def test_help_says_what_a_command_does_and_takes(command, script, flags):
    process = command(script, "--help")
    assert process.returncode == 0
    assert all(flag in process.stdout for flag in flags), process.stdout
    assert f"gcnet {script}" in process.stdout


@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_each_command_starts_as_a_process(process, script):
    finished = process(script, "--help")
    assert finished.returncode == 0, finished.stderr
    assert f"gcnet {script}" in finished.stdout


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
        (["camvid", "--source=nowhere"], "nowhere is not a folder"),
        (
            ["folder", "--name=x", "--source=nowhere", "--classes=x", "--images=x", "--masks=x"],
            "nowhere is not a folder",
        ),
    ],
)
def test_what_cannot_be_prepared_is_refused(fails, tmp_path, arguments, says):
    fails("prepare_dataset", *arguments, f"--data_dir={tmp_path}", says=says)


OWN = ("folder", "--name=plants", "--source=.", "--classes=x", "--images=x", "--masks=x")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "name of one data set"),
        (["kitti"], "camvid, cityscapes, context_shapes"),
        (["camvid"], "needs a source"),
        (["camvid", "--splits=tarin"], "has no split 'tarin' (did you mean 'train'?)"),
        (["context_shapes", "--source=x"], "is generated and takes no source"),
        (["camvid", "--classes=classes.csv"], "--classes is for 'folder', not for 'camvid'"),
        (["camvid", "--map=255=1"], "--map is for 'folder', not for 'camvid'"),
        (["folder", "--name=plants", "--splits=val"], "--splits is for official data sets"),
        (["camvid", "--allow_absent"], "--allow_absent is for 'folder' or 'coco_json', not"),
        (["folder"], "--name is required"),
        (["folder", "--name=plants"], "--source is required"),
        ([*OWN[:3]], "--classes is required"),
        ([*OWN[:4]], "--images is required"),
        ([*OWN[:5]], "--masks is required"),
        ([*OWN[:4], "--images=val=", "--masks=x"], "'val=' is"),
    ],
)
def test_options_that_lack_something_or_do_not_belong_are_refused(fails, tmp_path, arguments, says):
    fails("prepare_dataset", *arguments, f"--data_dir={tmp_path}", says=says, code=2)


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


def test_a_split_without_labels_is_refused_before_any_work(fails, tiny, tmp_path):
    source = make_cityscapes(tmp_path / "source")
    prepare("cityscapes", tmp_path / "data", source, subset=True)
    config = (*tiny, "--config.data.name=cityscapes", f"--config.data.data_dir={tmp_path / 'data'}")
    workdir = f"--workdir={tmp_path / 'run'}"
    says = "no pixel of split 'test' of 'cityscapes' has a label"
    fails("evaluate", *config, workdir, "--split=test", says=says)
    fails("train", *config, workdir, "--config.evaluation.split=test", says=says)
    fails("train", *config, workdir, "--config.data.train_split=test", says=says)
    assert not (tmp_path / "run").exists()


@pytest.fixture
def binary_masks(tmp_path):
    """The arguments for a folder with masks of 0 and 255, as drawing programs write them."""
    mask = np.zeros((16, 24), np.uint8)
    mask[:4] = 255
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "x.png"), mask)
    (tmp_path / "classes.csv").write_text("name\nrest\n[red]object\n")
    return (
        *("folder", "--name=things", f"--source={tmp_path}", f"--data_dir={tmp_path / 'data'}"),
        *("--images=train=images/*.png", "--masks=train=masks/*.png"),
        f"--classes={tmp_path / 'classes.csv'}",
    )


def rows(output):
    return [line.replace("│", "").split() for line in output.splitlines()]


def test_masks_of_0_and_255_are_refused_until_the_map_is_given_and_then_counted(
    command, fails, binary_masks, tmp_path
):
    says = "class '[red]object' (1) occurs in no mask of split 'train', where 25.00 % of the pixels"
    fails("prepare_dataset", *binary_masks, says=says)
    fails("prepare_dataset", *binary_masks, says="--map=255=1 makes 255 class 1")
    assert not (tmp_path / "data" / "things" / "2.0.0").exists()
    for _ in range(2):  # and shown again
        process = command("prepare_dataset", *binary_masks, "--map=255=1")
        assert process.returncode == 0, process.stderr
        assert ["0", "rest", "75.00", "1"] in rows(process.stdout)
        assert ["1", "[red]object", "25.00", "1"] in rows(process.stdout)
        assert ["ignored", "0"] in rows(process.stdout)
        picture = tmp_path / "data" / "things" / "2.0.0" / "samples.png"
        assert f"look at some images with their masks: {picture}" in process.stdout
        assert picture.exists()


def test_absent_classes_are_allowed_on_the_command_line(command, binary_masks):
    process = command("prepare_dataset", *binary_masks, "--allow_absent")
    assert process.returncode == 0, process.stderr
    assert ["1", "[red]object", "0", "0"] in rows(process.stdout)
    assert ["ignored", "25.00"] in rows(process.stdout)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["255"], "--map: '255' is not VALUE=CLASS"),
        (["255=object"], "--map: '255=object' is not VALUE=CLASS"),
        (["255=1=0"], "--map: '255=1=0' is not VALUE=CLASS"),
        (["255=1", "255=0"], "--map: value 255 is given two classes"),
    ],
)
def test_a_map_that_is_none_is_refused(fails, binary_masks, given, says):
    maps = (f"--map={text}" for text in given)
    fails("prepare_dataset", *binary_masks, *maps, says=says, code=2)


def test_a_map_to_no_class_is_refused(fails, binary_masks):
    says = "--map=255=7: 7 is no class; expected 0 to 1"
    fails("prepare_dataset", *binary_masks, "--map=255=7", says=says)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("--map=256=0", "--map=256=0: 256 is no mask value; expected 0 to 255"),
        ("--name=Things!", "'Things!' cannot be the name of a data set"),
        ("--name=camvid", "'camvid' is the name of a data set of this library"),
        ("--masks=val=masks/*.png", "split 'val' has masks and no images"),
    ],
)
def test_what_no_files_could_make_right_is_refused(fails, binary_masks, given, says):
    fails("prepare_dataset", *binary_masks, given, says=says, code=2)


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
    with Image.open(output / "0_rgb_label.png") as image:
        label = np.asarray(image)
    assert label.max() < 3
