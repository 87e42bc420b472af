"""`prepare_dataset` and `list` where data sets of several tasks are at hand."""

import shlex

import cv2
import numpy as np
import pytest

from gcnet_jax.data import encode_png
from tests.imagenet_trees import write_archives


@pytest.fixture
def flowers(tmp_path):
    """The arguments for a folder of classes."""
    for name, grey in (("[red]rose", 90), ("tulip", 200)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(3):
            pixels = np.full((8, 9, 3), grey, np.uint8)
            (tmp_path / "photos" / name / f"{i}.png").write_bytes(encode_png(pixels))
    source, data_dir = f"--source={tmp_path / 'photos'}", f"--data_dir={tmp_path / 'data'}"
    return "class_folders", "--name=flowers", source, data_dir


def rows(output):
    return [line.replace("│", "").split() for line in output.splitlines()]


def test_folders_of_classes_are_counted_and_the_next_command_is_that_of_their_task(
    command, flowers, tmp_path
):
    for _ in range(2):  # and shown again
        done = command("prepare_dataset", *flowers)
        assert done.returncode == 0, done.stderr
        assert "train    4 images\nval      2 images" in done.stdout
        assert ["0", "[red]rose", "2", "1"] in rows(done.stdout)
        assert ["all", "4", "2"] in rows(done.stdout)
        assert "look at some images with the names of their classes: " in done.stdout
    said = "train on it with: gcnet train "
    (line,) = (line for line in done.stdout.splitlines() if line.startswith(said))
    shown = command("train", *shlex.split(line.removeprefix(said)), "--print_config")
    assert shown.returncode == 0, shown.stderr
    assert '"task": "classification"' in shown.stdout
    assert '"name": "flowers"' in shown.stdout


def test_a_part_of_imagenet_is_prepared_from_its_archives(command, fails, tmp_path):
    source = write_archives(tmp_path / "source")
    arguments = ("imagenet", f"--source={source}", f"--data_dir={tmp_path / 'data'}")
    fails("prepare_dataset", *arguments, says="expected 1281167")
    done = command("prepare_dataset", *arguments, "--subset")
    assert done.returncode == 0, done.stderr
    assert "train    12 images\nval      6 images" in done.stdout
    assert ["each", "of", "1000", "0", "to", "3", "0", "to", "2"] in rows(done.stdout)
    assert "train on it" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["imagnet"], "there is no official data set 'imagnet' (did you mean 'imagenet'?)"),
        ([], "class_folders"),
        (["imagenet"], "needs a source: a folder with train/ or ILSVRC2012_img_train.tar"),
        (["context_scenes", "--source=x"], "is generated and takes no source"),
        (["imagenet", "--images=x"], "--images is for 'folder', not for 'imagenet'"),
        (["imagenet", "--name=x"], "--name is for 'folder' or 'class_folders' or"),
        (["imagenet", "--orientation=stored"], "'camvid' or"),
        (["class_folders", "--name=x", "--map=255=1"], "--map is for 'folder', not for 'class_f"),
        (["class_folders", "--name=x", "--subset"], "--subset is for official data sets"),
        (["class_folders"], "--name is required"),
        (["class_folders", "--name=x"], "--source is required"),
        (["class_folders", "--name=camvid", "--source=x"], "'camvid' is the name of a data set"),
        (["class_folders", "--name=imagenet", "--source=x"], "'imagenet' is the name of a data"),
    ],
)
def test_options_that_lack_something_or_do_not_belong_are_refused(fails, tmp_path, arguments, says):
    fails("prepare_dataset", *arguments, f"--data_dir={tmp_path}", says=says, code=2)


def test_sets_of_all_tasks_are_listed_and_none_takes_the_name_of_another(
    command, fails, flowers, tmp_path
):
    assert command("prepare_dataset", *flowers).returncode == 0
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        mask = np.zeros((8, 8), np.uint8)
        mask[:4] = 1
        cv2.imwrite(str(tmp_path / folder / "x.png"), mask)
    (tmp_path / "classes.csv").write_text("name\nrest\nthing\n")
    masks = (
        *("folder", f"--source={tmp_path}", flowers[-1], f"--classes={tmp_path / 'classes.csv'}"),
        *("--images=train=images/*.png", "--masks=train=masks/*.png"),
    )
    says = "for classification; choose another name"
    fails("prepare_dataset", *masks, "--name=flowers", says=says, code=2)
    assert command("prepare_dataset", *masks, "--name=things").returncode == 0
    says = "for segmentation; choose another name"
    fails("prepare_dataset", *flowers, "--name=things", says=says, code=2)
    listed = rows(command("list", "data", flowers[-1]).stdout)
    assert ["flowers", "classification", "yes", "train", "4,", "val", "2"] in listed
    assert ["things", "segmentation", "yes", "train", "1"] in listed
    assert ["imagenet", "classification"] in listed
    assert ["camvid", "segmentation"] in listed
