"""`prepare_dataset` of images with annotated objects, in one process."""

import json

import pytest

from gcnet_jax.cli import prepare_dataset
from tests.tasks.detection.data.coco_written import annotation, document, write


@pytest.fixture
def prepare(capsys):
    """`prepare(*arguments)`: the exit status, what is printed, and what goes to stderr."""

    def run(*arguments):
        status = prepare_dataset.main([*map(str, arguments)])
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def own(tmp_path):
    """The arguments for a json of two classes, of which one object has no area."""
    train = document([annotation(1), annotation(2, category_id=3), annotation(3, area=0)])
    files = write(tmp_path, train)
    options = [f"--{key}={path}" for key, path in files.items()]
    return ["coco_json", "--name=own", f"--data_dir={tmp_path / 'data'}", *options]


def test_a_json_of_ones_own_is_counted_and_its_next_command_is_shown(prepare, own):
    for _ in range(2):  # and shown again
        status, out, _ = prepare(*own)
        assert status == 0
        assert "train    2 images\nval      2 images" in out
        rows = [line.replace("│", "").split() for line in out.splitlines()]
        assert ["0", "cat", "1", "1"] in rows
        assert ["most", "in", "an", "image", "2", "1"] in rows
        assert ["left", "out:", "without", "area", "1", "0"] in rows
        assert ["images", "without", "annotation", "1", "1"] in rows
        assert "look at some images with their objects: " in out
        assert "train on it with: gcnet train --config=mask-rcnn_nuclei:own " in out


def test_of_boxes_alone_the_next_command_learns_no_masks(prepare, tmp_path):
    boxes = document([annotation(1, segmentation=None), annotation(2, 2, segmentation=None)])
    options = [f"--{key}={path}" for key, path in write(tmp_path, boxes, boxes).items()]
    own = ["coco_json", "--name=own", "--allow_absent", f"--data_dir={tmp_path / 'data'}"]
    status, out, err = prepare(*own, *options)
    assert status == 0, err
    learning = "--config=mask-rcnn_nuclei:own --config.model.mask_head.enabled=False --workdir="
    assert f"train on it with: gcnet train {learning}" in out


def test_faults_are_listed_with_a_line_at_the_end(prepare, own, tmp_path):
    status, _, err = prepare(*own, "--strict")
    assert status == 1
    lines = err.strip().splitlines()
    assert any("annotation 3: bbox" in line and "without area" in line for line in lines)
    assert "(and 2 more faults); nothing is written" in lines[-1]
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["coco_json"], "--name is required"),
        (["coco_json", "--name=own"], "--train_json is required"),
        (["coco_json", "--name=own", "--train_json=x"], "--train_images is required"),
        (
            ["coco_json", "--name=own", "--source=x"],
            "--source is not for 'coco_json', which takes --train_json --train_images --val_json",
        ),
        (["folder", "--name=own", "--strict"], "--strict is for 'coco_json' or 'coco' or "),
        (["coco", "--val_json=x"], "--val_json is for 'coco_json', not for 'coco'"),
        (["coco"], "data set 'coco' needs a source: a folder with train2017/ or train2017.zip"),
        (
            ["coco_json", "--name=coco", "--train_json=x", "--train_images=x", "--val_json=x"],
            "'coco' is the name of a data set of this library",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_first(prepare, tmp_path, arguments, says):
    status, _, err = prepare(*arguments, f"--data_dir={tmp_path}")
    assert status == 2
    assert says in err
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_named(prepare, own, tmp_path):
    (tmp_path / "val.json").unlink()
    status, _, err = prepare(*own)
    assert status == 1
    assert f"{tmp_path / 'val.json'} cannot be read (No such file or directory); nothing" in err


def test_ids_of_categories_are_kept(prepare, own, tmp_path):
    assert prepare(*own)[0] == 0
    contents = json.loads((tmp_path / "data" / "own" / "2.0.0" / "contents.json").read_text())
    assert contents["classes"] == {"names": ["cat", "dog"], "category_ids": [7, 3]}
