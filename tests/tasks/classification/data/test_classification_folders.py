"""A user's own images in folders that are named by their classes."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gcnet_jax.config import find_config
from gcnet_jax.data import encode_png
from gcnet_jax.errors import InputError
from gcnet_jax.tasks.classification.data import (
    DATA_SETS,
    ImageClasses,
    decode,
    prepare,
    prepare_class_folders,
)
from gcnet_jax.tasks.classification.task import TASK
from gcnet_jax.tasks.configs import load_config

COLOURS = {"daisy": 10, "rose": 90, "tulip": 200}


def plant(root: Path, tree: dict[str, int]) -> Path:
    """Writes so many images into each folder, in the colour of the last part of its name."""
    for folder, count in tree.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        grey = COLOURS.get(Path(folder).name, 0)
        for i in range(count):
            pixels = np.full((6 + i, 8, 3), grey, np.uint8)
            (root / folder / f"{i}.png").write_bytes(encode_png(pixels))
    return root


def prepared(tmp_path, name="flowers", **options):
    return prepare_class_folders(name, tmp_path / "data", tmp_path / "source", **options)


def labels(tmp_path, split, name="flowers"):
    records = DATA_SETS.open_split(name, tmp_path / "data", split)
    for record in records:
        sample = decode(record)
        assert sample["image"][0, 0, 0] in (0, [*COLOURS.values()][sample["label"]])
    return {record["name"].decode(): int(record["label"]) for record in records}


@pytest.mark.parametrize("held_out", ["val", "test"])
def test_splits_have_the_classes_of_training_in_the_order_of_their_names(tmp_path, held_out):
    tree = {"train/rose": 2, "train/daisy": 3, "train/tulip": 1, f"{held_out}/tulip": 2}
    plant(tmp_path / "source", tree | {f"{held_out}/rose": 1})
    prepared(tmp_path)
    assert DATA_SETS.split_names("flowers", tmp_path / "data") == ("train", held_out)
    assert DATA_SETS.meaning("flowers", tmp_path / "data").names == ("daisy", "rose", "tulip")
    assert labels(tmp_path, "train") == {
        **{f"daisy/{i}.png": 0 for i in range(3)},
        **{f"rose/{i}.png": 1 for i in range(2)},
        "tulip/0.png": 2,
    }
    assert labels(tmp_path, held_out) == {"rose/0.png": 1, "tulip/0.png": 2, "tulip/1.png": 2}
    assert DATA_SETS.counts("flowers", tmp_path / "data", held_out).images == {1: 1, 2: 2}
    # And what is held out is evaluated on, unless a config names another split.
    config = load_config(find_config("photos"), "flowers")
    config.data.data_dir = str(tmp_path / "data")
    assert TASK.with_evaluation_split(config).evaluation.split == held_out
    assert config.evaluation.split == ""
    config.evaluation.split = "train"
    assert TASK.with_evaluation_split(config) is config


def test_without_splits_every_fifth_image_of_a_class_is_held_out(tmp_path):
    plant(tmp_path / "source", {"daisy": 8, "rose": 2, "tulip": 3})
    prepared(tmp_path)
    assert set(labels(tmp_path, "val")) == {"daisy/2.png", "daisy/7.png", "tulip/2.png"}
    assert DATA_SETS.counts("flowers", tmp_path / "data", "train").images == {0: 6, 1: 2, 2: 2}


def test_a_class_may_be_called_train(tmp_path):
    plant(tmp_path / "source", {"bus": 3, "car": 3, "train": 3})
    prepare_class_folders("traffic", tmp_path / "data", tmp_path / "source")
    assert DATA_SETS.meaning("traffic", tmp_path / "data").names == ("bus", "car", "train")


def test_what_is_no_image_is_named_and_what_systems_leave_is_not(tmp_path, capfd):
    source = plant(tmp_path / "source", {"daisy": 3, "rose": 3})
    for left in ("rose/.DS_Store", "rose/._1.png", "daisy/Thumbs.db", ".hidden/x.png"):
        (source / left).parent.mkdir(exist_ok=True)
        (source / left).write_bytes(b"")
    prepared(tmp_path)
    assert "left out" not in capfd.readouterr().err
    for left in ("rose/notes.txt", "readme.md", "rose/\x1b[2Jx.csv"):
        (source / left).write_bytes(b"")
    prepared(tmp_path)
    said = capfd.readouterr().err
    assert (
        "left out, for they are no images by their names: 'readme.md', 'rose/\\x1b[2Jx.csv'" in said
    )
    assert "'rose/notes.txt'" in said
    assert "\x1b[2J" not in said


def test_names_of_files_and_folders_may_be_anything_that_can_be_shown(tmp_path):
    source = plant(tmp_path / "source", {"Nelke (rot)": 3, "椿": 3})
    os.rename(source / "椿" / "0.png", os.fsencode(source / "椿") + b"/\xe9.PNG")  # noqa: PTH104
    prepared(tmp_path)
    assert DATA_SETS.meaning("flowers", tmp_path / "data").names == ("Nelke (rot)", "椿")
    assert "椿/\\xe9.PNG" in labels(tmp_path, "val") | labels(tmp_path, "train")


@pytest.mark.parametrize(
    ("tree", "strange", "says"),
    [
        ({"rose": 3}, None, "holds 1 folders; expected one for each class, two at least"),
        ({}, None, "holds 0 folders"),
        ({"rose": 3, "tulip": 0}, None, "tulip holds no image; expected those of a class"),
        ({"rose": 2, "tulip": 2}, None, "has the 3 images of which one is held out"),
        ({"rose": 3, "tulip": 3}, "1.png", r"belong to no class, '1\.png'; expected a folder"),
        ({"rose": 3, "tulip": 3}, "rose/more/1.png", "rose holds folders, 'more'; expected the"),
        ({"train/rose": 1, "train/tulip": 1}, None, "holds train/ alone; expected val/ or test/"),
        (
            {"train/rose": 1, "train/tulip": 1, "valid/rose": 1},
            None,
            "holds train/ and 'valid'; expected train/ with val/ or test/",
        ),
        (
            {"train/rose": 1, "train/tulip": 1, "val/daisy": 1, "val/rose": 1},
            None,
            "val has folders of classes that .*train has not, 'daisy'",
        ),
        (
            {"train/rose": 1, "train/tulip": 0, "val/rose": 1},
            None,
            "train has folders of classes without an image, 'tulip'",
        ),
        ({"train/rose": 1, "train/tulip": 1, "val/rose": 0}, None, "val holds no image"),
        (
            {"train/rose": 1, "train/tulip": 1, "val/rose": 1},
            "val/1.png",
            "val holds images that belong to no class",
        ),
        ({"train/rose": 1, "val/rose": 1}, None, "train holds 1 folders"),
        ({"ro\x1bse": 3, "tulip": 3}, None, r"'ro\\x1bse' in .* cannot be shown; rename it"),
    ],
)
def test_trees_that_leave_something_open_are_refused(tmp_path, tree, strange, says):
    source = plant(tmp_path / "source", tree)
    source.mkdir(exist_ok=True)
    if strange:
        (source / strange).parent.mkdir(exist_ok=True)
        (source / strange).write_bytes(b"")
    with pytest.raises(InputError, match=says) as error:
        prepared(tmp_path)
    assert len(str(error.value).splitlines()) == 1
    assert not (tmp_path / "data" / "flowers").exists()


def test_files_that_are_no_images_or_no_files_are_named(tmp_path):
    source = plant(tmp_path / "source", {"daisy": 3, "rose": 3})
    (source / "rose" / "3.jpg").write_bytes(b"%!PS")
    with pytest.raises(InputError, match=r"rose/3\.jpg: not an image"):
        prepared(tmp_path)
    (source / "rose" / "3.jpg").unlink()
    (source / "rose" / "3.jpg").symlink_to("nowhere")
    with pytest.raises(InputError, match=r"rose/3\.jpg is no regular file, or a link to nothing"):
        prepared(tmp_path)
    (source / "rose" / "3.jpg").unlink()
    os.mkfifo(source / "rose" / "3.jpg")
    with pytest.raises(InputError, match=r"rose/3\.jpg is no regular file"):
        prepared(tmp_path)
    (source / "rose" / "3.jpg").unlink()
    Image.new("RGB", (60, 50)).save(source / "rose" / "3.jpg")
    with pytest.raises(InputError, match=r"60x50 are 3,000 pixels, more than the limit"):
        prepared(tmp_path, max_image_pixels=2999)
    prepared(tmp_path)


def test_the_same_tree_is_prepared_once_and_a_changed_one_is_not_taken_for_it(tmp_path):
    source = plant(tmp_path / "source", {"daisy": 3, "rose": 3})
    folder = prepared(tmp_path)
    assert prepared(tmp_path) == folder
    plant(source, {"daisy": 4})
    with pytest.raises(InputError, match="is prepared from other files"):
        prepared(tmp_path)
    plant(source, {"lily": 1})
    with pytest.raises(InputError, match="prepared with other classes"):
        prepared(tmp_path)


@pytest.mark.parametrize("name", ["imagenet", "Flowers", "all"])
def test_names_that_are_taken_or_none_are_refused(tmp_path, name):
    plant(tmp_path / "source", {"daisy": 3, "rose": 3})
    with pytest.raises(InputError, match=rf"'{name}' (is the name of|cannot be the name of)"):
        prepared(tmp_path, name=name)


def test_a_split_of_one_class_is_stored_and_used_for_nothing(tmp_path):
    plant(tmp_path / "source", {"train/daisy": 1, "train/rose": 1, "val/rose": 2})
    prepared(tmp_path)
    DATA_SETS.check_split("flowers", tmp_path / "data", "train")
    with pytest.raises(InputError, match=r"all images of split 'val' of 'flowers' are of .*'rose'"):
        DATA_SETS.check_split("flowers", tmp_path / "data", "val")


def test_sets_of_segmentation_are_not_taken_for_classified_images(shapes_dir):
    with pytest.raises(InputError, match="describes other features than this library stores"):
        DATA_SETS.meaning("context_shapes", shapes_dir)
    with pytest.raises(InputError, match="there is no official data set 'context_shapes'"):
        prepare("context_shapes", shapes_dir)


# Classes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ((), "there are no classes"),
        (("a", "b", "a"), "2 classes are called 'a'"),
        (("a", ""), "the name of a class is empty"),
        (("a", "b\x1b]0;"), r"'b\\x1b\]0;' holds characters that cannot be shown"),
    ],
)
def test_classes_have_names_that_tell_them_apart_and_can_be_shown(names, says):
    with pytest.raises(InputError, match=says):
        ImageClasses(names)


def test_classes_come_back_from_json_and_nothing_else_does():
    classes = ImageClasses(("a", "b c"))
    assert ImageClasses.from_plain(classes.to_plain()) == classes
    assert classes.to_plain() == {"names": ["a", "b c"]}
    assert ImageClasses.numbered(3).names == ("0", "1", "2")
    for plain in ({}, {"names": "ab"}, {"names": [1]}, {"names": ["a"], "palette": [[0, 0, 0]]}):
        with pytest.raises((KeyError, TypeError, ValueError)):
            ImageClasses.from_plain(plain)
