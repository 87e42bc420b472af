import os
import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from gcnet_jax.errors import InputError
from gcnet_jax.tasks.segmentation.data import (
    DATA_SETS,
    decode,
    generic_palette,
    prepare,
    prepare_folder,
)
from tests.official_trees import make_own_images, read_rgb, read_values

PATTERNS = {
    "images": {split: [f"{split}/*/*_rgb.jpg"] for split in ("train", "val")},
    "masks": {split: [f"{split}/*/*_label.png"] for split in ("train", "val")},
}


@pytest.fixture
def source(tmp_path):
    return make_own_images(tmp_path / "source", {"train": 5, "val": 2})


@pytest.fixture
def prepared(tmp_path, source):
    """`prepared(**changes)`: prepares the set "plants" in `tmp_path / "data"`."""

    def prepare(name="plants", **changes):
        options = PATTERNS | {"classes": source / "classes.csv"} | changes
        return prepare_folder(name, tmp_path / "data", source, **options)

    return prepare


def test_images_meet_the_masks_whose_stars_match_the_same_text(tmp_path, source, prepared, pixels):
    prepared(pixels=pixels)
    assert DATA_SETS.split_names("plants", tmp_path / "data") == ("train", "val")
    for split, count in (("train", 5), ("val", 2)):
        records = DATA_SETS.open_split("plants", tmp_path / "data", split)
        images = sorted((source / split).rglob("*_rgb.jpg"))
        assert len(records) == len(images) == count
        sizes = DATA_SETS.image_sizes("plants", tmp_path / "data", split)
        for record, image, size in zip(records, images, sizes, strict=True):
            sample = decode(record)
            np.testing.assert_array_equal(sample["image"], read_rgb(image))
            mask = read_values(image.with_name(image.name.replace("_rgb.jpg", "_label.png")))
            np.testing.assert_array_equal(sample["label"], mask)
            assert size.tolist() == list(mask.shape)


def test_images_of_one_name_in_several_folders_are_told_apart(tmp_path, prepared):
    prepared()
    names = [
        record["name"] for record in DATA_SETS.open_split("plants", tmp_path / "data", "train")
    ]
    assert names == [b"field_0", b"field_1", b"field_2", b"house_0", b"house_1"]


def test_several_patterns_can_make_up_a_split(tmp_path, prepared):
    images = {"all_of_it": ["train/*/*_rgb.jpg", "val/field/*_rgb.jpg"]}
    with pytest.raises(InputError, match=r"differ in their number of stars"):
        prepared(images=images, masks={"all_of_it": ["train/*/*_label.png"]})
    prepared(
        images={"everything": ["train/field/*_rgb.jpg", "train/house/1_*.jpg"][:1]},
        masks={"everything": ["train/field/*_label.png"]},
    )
    assert len(DATA_SETS.open_split("plants", tmp_path / "data", "everything")) == 3


def test_classes_and_colours_are_stored_with_the_data(tmp_path, prepared):
    prepared()
    classes = DATA_SETS.meaning("plants", tmp_path / "data")
    assert classes.names == ("soil", "leaf", "pot")
    assert classes.palette == ((90, 60, 30), (0, 200, 0), (9, 9, 9))
    for unknown in (None, tmp_path):
        with pytest.raises(InputError, match=r"'plants'.*ade20k, camvid"):
            DATA_SETS.meaning("plants", unknown)


def test_classes_without_colours_get_some(tmp_path, source, prepared):
    (source / "classes.csv").write_text("name\nsoil\nleaf\npot\n")
    prepared()
    assert DATA_SETS.meaning("plants", tmp_path / "data").palette == generic_palette(3)


def test_names_of_any_bytes_are_prepared_and_prepared_again(tmp_path, source, prepared):
    strange = os.fsdecode(b"caf\xe9 \n\x1b[31m [x]*")
    for split in ("train", "val"):
        for kind in ("rgb.jpg", "label.png"):
            (source / split / "field" / f"0_{kind}").rename(
                source / split / "field" / f"{strange}_{kind}"
            )
    moved = source.with_name(os.fsdecode(b"\xe9t\xe9"))
    source.rename(moved)
    options = PATTERNS | {"classes": moved / "classes.csv"}
    for _ in range(2):
        prepare_folder("plants", tmp_path / "data", moved, **options)
    names = [
        record["name"].decode()
        for record in DATA_SETS.open_split("plants", tmp_path / "data", "val")
    ]
    assert names == ["caf\\xe9 \n\x1b[31m [x]*_rgb", "0_rgb"]


def test_a_folder_for_data_that_is_not_in_utf_8_is_refused(tmp_path, source):
    data_dir = tmp_path / os.fsdecode(b"\xe9")
    options = PATTERNS | {"classes": source / "classes.csv"}
    with pytest.raises(InputError, match=r"udce9 is not UTF-8; use another folder"):
        prepare_folder("plants", data_dir, source, **options)
    with pytest.raises(InputError, match="not UTF-8"):
        prepare("context_shapes", data_dir)
    assert not data_dir.exists()


@pytest.mark.parametrize("name", ["cityscapes", "context_shapes"])
def test_the_name_of_an_official_set_is_refused(prepared, name):
    with pytest.raises(InputError, match=f"'{name}' is the name of a data set of this library"):
        prepared(name)


@pytest.mark.parametrize("name", ["Plants", "my-plants", "../plants", "", "all", "1st"])
def test_a_name_that_cannot_be_one_is_refused(prepared, name):
    with pytest.raises(InputError, match=f"'{name}' cannot be the name of a data set"):
        prepared(name)
    with pytest.raises(InputError, match=f"'{name}' cannot be the name of a split"):
        prepared(images={name: ["*.jpg"]}, masks={name: ["*.png"]})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "is empty"),
        ("name\n", "found no rows"),
        ("name\nsoil\n", "'soil' is the only class, .*'background'"),
        ("class\nsoil\n", "column 'class' is not known"),
        ("red,green,blue\n1,2,3\n", "expected a column 'name'"),
        ("id,name\n1,soil\n2,leaf\n", "column 'id' is not known; expected 'name' .*found 'id', 'n"),
        ("name,red,green,blue,hex\na,1,2,3,x\nb,4,5,6,y\n", "column 'hex' is not known"),
        ("name,red,green,blue,R\na,1,2,3,1\nb,4,5,6,1\n", "there are two columns 'red'"),
        ("name\nsoil\nleaf\nsoil\n", "a different name in each row; found 'soil', 'leaf', 'soil'"),
        ("name\nsoil\n,leaf\n", "class 1 has 2 cells .*expected 1"),
        ("name,red,green,blue\nsoil,1,2,3\n,1,2,4\n", "a different name in each row"),
        ("name\n" + "".join(f"c{i}\n" for i in range(256)), "2 to 255 classes"),
        ("name\nsoil\nle\x1baf\n", r"name 'le\\x1baf' holds characters that cannot be shown"),
        ("name,red,green\nsoil,1,2\nleaf,3,4\n", "the column 'blue' is missing"),
        ("name,red,green,blue\nsoil,1,2,3\nleaf,1,2\n", "class 'leaf' has no colour"),
        ("name,red,green,blue\nsoil,1,2,256\nleaf,1,2,3\n", "class 'soil' has no colour"),
        ("name,red,green,blue\nsoil,1,2,blue\nleaf,1,2,3\n", "class 'soil' has no colour"),
        ("name,red,green,blue\nsoil,1,2,-3\nleaf,1,2,3\n", "class 'soil' has no colour"),
        ("name,red,green,blue\nsoil,1,2,²\nleaf,1,2,3\n", "class 'soil' has no colour"),
        ('name\n"' + "x" * 200_000 + '"\nleaf\n', "is no CSV table"),
    ],
)
def test_a_table_that_is_none_is_named(source, prepared, table, message):
    (source / "classes.csv").write_text(table)
    with pytest.raises(InputError, match=rf"classes.csv.* {message}"):
        prepared()


def test_two_classes_of_one_colour_are_refused(source, prepared):
    (source / "classes.csv").write_text("name,r,g,b\nsoil,1,2,3\nleaf,4,5,6\npot,1,2,3\n")
    with pytest.raises(
        InputError, match=r"classes.csv: 'soil' and 'pot' have the same colour, 1, 2,"
    ):
        prepared()


def test_without_splits_every_fifth_image_is_held_out(tmp_path, source, prepared):
    patterns = {"images": ["train/*/*_rgb.jpg"], "masks": ["train/*/*_label.png"]}
    prepared(**patterns)
    names = {
        split: [
            record["name"] for record in DATA_SETS.open_split("plants", tmp_path / "data", split)
        ]
        for split in DATA_SETS.split_names("plants", tmp_path / "data")
    }
    held_out = [b"field_2"]
    assert names == {"train": [b"field_0", b"field_1", b"house_0", b"house_1"], "val": held_out}
    with pytest.raises(InputError, match="for images or masks alone; expected for both or neither"):
        prepared(masks=patterns["masks"])
    with pytest.raises(InputError, match=r"2 images, too few to divide .*; expected 3 at least"):
        prepared("few", images=["val/*/*_rgb.jpg"], masks=["val/*/*_label.png"])


def test_what_is_missing_is_named(tmp_path, source, prepared):
    with pytest.raises(InputError, match=r"there is no file .*colours.csv"):
        prepared(classes=source / "colours.csv")
    with pytest.raises(InputError, match=r"split 'val' has images and no masks"):
        prepared(masks={"train": PATTERNS["masks"]["train"]})
    with pytest.raises(InputError, match=r"split 'val' has masks and no images"):
        prepared(images={"train": PATTERNS["images"]["train"]})
    with pytest.raises(InputError, match=r"there are no patterns of images"):
        prepared(images={}, masks={})
    with pytest.raises(InputError, match=r"no file matches .*source/train/.*/.*_rgb.tif"):
        prepared(images=PATTERNS["images"] | {"train": ["train/*/*_rgb.tif"]})
    with pytest.raises(InputError, match=r"source/trein is missing; expected files"):
        prepared(images=PATTERNS["images"] | {"train": ["trein/*/*_rgb.jpg"]})
    (source / "train" / "house" / "0_label.png").unlink()
    expected = "train/house/0_rgb.jpg has no label; expected .*/train/house/0_label.png"
    with pytest.raises(InputError, match=expected):
        prepared()
    shutil.rmtree(source)
    with pytest.raises(InputError, match=r"source is not a folder"):
        prepare_folder("plants", tmp_path, source, **PATTERNS, classes="classes.csv")


@pytest.mark.parametrize("value", [3, 254])
def test_a_mask_value_that_is_no_class_is_named(source, prepared, value):
    path = source / "val" / "field" / "0_label.png"
    mask = read_values(path)
    mask[1, 1] = value
    cv2.imwrite(str(path), mask)
    with pytest.raises(InputError, match=f"0_label.png: label value {value}; expected 0 to 2, 255"):
        prepared()


def test_preparing_the_same_again_changes_nothing_and_something_else_is_refused(source, prepared):
    folder = prepared()
    before = {path: path.stat() for path in folder.iterdir()}
    assert prepared() == folder
    assert {path: path.stat() for path in folder.iterdir()} == before
    other = source / "other.csv"
    other.write_text("name\nsoil\nleaf\nflower\n")
    with pytest.raises(InputError, match=r"prepared with other classes; delete .*plants/2"):
        prepared(classes=other)
    with pytest.raises(
        InputError, match=r"prepared with pixels 'as_found', not 'uncompressed'; del"
    ):
        prepared(pixels="uncompressed")
    shutil.copy(source / "val/field/0_rgb.jpg", source / "val/field/7_rgb.jpg")
    shutil.copy(source / "val/field/0_label.png", source / "val/field/7_label.png")
    with pytest.raises(InputError, match=r"prepared from other files .*; delete .*plants/2"):
        prepared()
    assert {path: path.stat() for path in folder.iterdir()} == before


def test_preparing_keeps_the_limit_for_images_and_masks(tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.eye(20, dtype=np.uint8)).save(tmp_path / folder / "x.png")
    (tmp_path / "classes.csv").write_text("name\nrest\nline\n")

    def prepared(limit):
        prepare_folder(
            "lines",
            tmp_path / "data",
            tmp_path,
            images={"train": ["images/*.png"]},
            masks={"train": ["masks/*.png"]},
            classes=tmp_path / "classes.csv",
            max_image_pixels=limit,
        )

    with pytest.raises(InputError, match=r"images/x.png: 20x20 are 400 pixels, .* limit of 399"):
        prepared(399)
    Image.new("L", (20, 21)).save(tmp_path / "masks" / "x.png")
    with pytest.raises(InputError, match=r"masks/x.png: 20x21 are 420 pixels, .* limit of 400"):
        prepared(400)
    Image.fromarray(np.eye(20, dtype=np.uint8)).save(tmp_path / "masks" / "x.png")
    prepared(400)
    assert DATA_SETS.split_size("lines", tmp_path / "data", "train") == 1
