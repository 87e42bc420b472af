"""A user's own images with annotations in COCO's format."""

import json

import numpy as np
import pycocotools.mask
import pytest
import rich.console
from etils import epath
from PIL import Image

from gcnet_jax.config import MAX_IMAGE_PIXELS
from gcnet_jax.data.orientation import turned
from gcnet_jax.errors import InputError, UsageError
from gcnet_jax.tasks.detection.data import (
    DATA_SETS,
    annotations_of,
    decode,
    pixels_of,
    prepare_coco_json,
)
from gcnet_jax.tasks.detection.data.object_counts import counts_table
from gcnet_jax.tasks.detection.data.sources.coco_files import Checks, CocoFiles, find_examples
from tests.tasks.detection.data.coco_written import (
    CATEGORIES,
    SIZE,
    TRIANGLE,
    annotation,
    document,
    image,
    prepare_written,
    write,
    write_image,
)


def stored(tmp_path, split="train", name="own"):
    """What is stored, by the name of the image."""
    records = DATA_SETS.open_split(name, tmp_path / "data", split)
    return {record["name"].decode(): decode(record)["annotations"] for record in records}


def test_boxes_classes_crowds_and_masks_are_those_of_the_json(tmp_path):
    lengths = [100, 20, 480]
    crowd = annotation(
        12, 2, category_id=3, iscrowd=1, segmentation={"size": [*SIZE], "counts": lengths}
    )
    train = document([annotation(5), crowd, annotation(9, 1, bbox=[0, 1, 30, 2], area=60)])
    folder = prepare_written(tmp_path, train)
    records = DATA_SETS.open_split("own", tmp_path / "data", "train")
    assert [int(record["image_id"]) for record in records] == [1, 2]
    found = stored(tmp_path)
    assert found["1.png"].boxes.tolist() == [[2, 3, 12.5, 9.5], [0, 1, 30, 2]]
    assert found["1.png"].areas.tolist() == pytest.approx([59.4, 60])
    assert found["1.png"].classes.tolist() == [0, 0]
    assert found["2.png"].classes.tolist() == [1]
    assert found["2.png"].crowds.tolist() == [True]
    mask = np.zeros(600, np.uint8)
    mask[100:120] = 1
    np.testing.assert_array_equal(
        pixels_of(found["2.png"].masks, SIZE)[0], mask.reshape(SIZE, order="F")
    )
    classes = DATA_SETS.meaning("own", tmp_path / "data")
    assert (classes.names, classes.category_ids) == (("cat", "dog"), (7, 3))
    assert DATA_SETS.counts("own", tmp_path / "data", "train").most == 2
    assert prepare_written(tmp_path, train) == folder  # which finds that nothing has changed
    with pytest.raises(InputError, match="prepared from other files"):
        prepare_written(tmp_path, document([annotation(5), crowd]))


def test_boxes_alone_need_no_segmentation_flags_or_areas(tmp_path):
    only_boxes = {"segmentation": None, "iscrowd": None, "area": None}
    train = document([annotation(1, **only_boxes), annotation(2, **only_boxes | {"area": 0.5})])
    val = document([annotation(1, **only_boxes | {"segmentation": []})])
    prepare_written(tmp_path, train, val)
    found = stored(tmp_path)["1.png"]
    assert found.masks is None
    assert found.areas.tolist() == [118.75, 0.5]
    assert not DATA_SETS.contents("own", tmp_path / "data").record_format.has_masks
    prepare_written(tmp_path, train, val)  # which finds that nothing has changed


def test_a_fingerprint_follows_from_what_is_annotated_alone(tmp_path):
    only_boxes = annotation(1, segmentation=None)
    files = write(tmp_path, document([only_boxes]))
    split = CocoFiles(*(epath.Path(files[key]) for key in ("train_json", "train_images")))
    examples = find_examples({"train": split}, Checks(MAX_IMAGE_PIXELS)).examples["train"]
    # Not from where things lie in memory: another process has to find the same.
    assert examples[0].fingerprint().startswith("1.png 1 1 0033ee84 ")
    assert examples[1].fingerprint().startswith("2.png 2 1 00000000 ")


def test_an_area_that_nobody_says_is_that_of_the_mask(tmp_path):
    prepare_written(tmp_path, document([annotation(1, area=None)]))
    found = stored(tmp_path)["1.png"]
    assert found.areas.tolist() == [pixels_of(found.masks, SIZE).sum()]


def test_images_lie_in_folders_of_their_own_and_below_each_other(tmp_path):
    folders = write(tmp_path, document([annotation(1)], [image(1, name="a/b/1.png")]))
    write_image(folders["train_images"] / "a" / "b" / "1.png")
    other = tmp_path / "other"
    for name in ("1.png", "2.png"):
        write_image(other / name)
        (folders["train_images"] / name).unlink()
    options = {**folders, "val_images": other, "allow_absent": True}
    prepare_coco_json("own", tmp_path / "data", **options)
    assert list(stored(tmp_path)) == ["a/b/1.png"]
    assert list(stored(tmp_path, "val")) == ["1.png", "2.png"]


def test_what_is_not_trained_on_is_counted_and_refused_where_one_is_strict(tmp_path):
    train = document(
        [
            annotation(1),
            annotation(2, bbox=[40, 3, 5, 5]),
            annotation(3, area=0),
            annotation(4, bbox=[2, 3, 0, 5]),
            annotation(6, bbox=[40, 3, 5, 5], iscrowd=1),
        ]
    )
    prepare_written(tmp_path, train)
    counts = DATA_SETS.counts("own", tmp_path / "data", "train")
    assert counts.left_out == {"outside the image": 2, "without area": 1}
    assert counts.annotated.tolist() == [5, 0]
    assert counts.trainable.tolist() == [1, 0]
    with pytest.raises(InputError) as raised:
        prepare_written(tmp_path / "strict", train, strict=True)
    train_json, val_json = tmp_path / "strict" / "train.json", tmp_path / "strict" / "val.json"
    listed = [line.split(": ") for line in raised.value.listed]
    assert sorted(
        (path, where, what.split(" and ")[-1].split(",")[0]) for path, where, what in listed
    ) == [
        (str(train_json), "annotation 2", "area 59.4 are outside the image"),
        (str(train_json), "annotation 3", "area 0 are without area"),
        (str(train_json), "annotation 4", "area 59.4 are narrower than a pixel"),
        (str(train_json), "annotation 4", "area 59.4 are outside the image"),
        (str(train_json), "image 2", "has no annotation"),
        (str(val_json), "image 2", "has no annotation"),
    ]
    assert not (tmp_path / "strict" / "data").exists()


def test_masks_without_a_pixel_are_counted_and_refused_where_one_is_strict(tmp_path):
    empty = {"segmentation": {"size": [*SIZE], "counts": [SIZE[0] * SIZE[1]]}}
    train = document(
        [
            annotation(1),
            annotation(2, 2, **empty),
            annotation(3, **empty, area=0),  # which is left out anyhow
            annotation(4, **empty, iscrowd=1),
        ]
    )
    prepare_written(tmp_path, train)
    counts = DATA_SETS.counts("own", tmp_path / "data", "train")
    assert (counts.without_pixels, counts.total, counts.left_out) == (1, 2, {"without area": 1})
    console = rich.console.Console(width=100)
    classes = DATA_SETS.meaning("own", tmp_path / "data")
    with console.capture() as shown:
        console.print(counts_table({"train": counts}, classes))
    (row,) = (line for line in shown.get().splitlines() if "masks without a pixel" in line)
    assert "1" in row
    with pytest.raises(InputError) as raised:
        prepare_written(tmp_path / "strict", train, strict=True)
    listed = [line for line in raised.value.listed if "no pixel is in its mask" in line]
    assert sorted(line.split(": ")[1] for line in listed) == ["annotation 2", "annotation 3"]


def test_a_json_with_nothing_to_compare_with_is_refused_when_it_is_prepared(tmp_path):
    train = document([annotation(1)])
    with pytest.raises(InputError, match=r"val\.json: annotations: there are none, expected one"):
        prepare_written(tmp_path, train, document([]))
    assert not (tmp_path / "data").exists()
    with pytest.raises(
        InputError, match="none of the 1 annotations of split 'val' can be compared"
    ):
        prepare_written(tmp_path, train, document([annotation(1, iscrowd=1)]))


def test_classes_without_an_object_are_refused_unless_one_says_so(tmp_path):
    with pytest.raises(InputError, match=r"no object of class 'dog'; .* --allow_absent"):
        prepare_written(tmp_path, document([annotation(1)]), allow_absent=False)
    with pytest.raises(InputError, match="none of the 1 annotations of split 'train' can be"):
        prepare_written(tmp_path / "2", document([annotation(1, area=0)]))


def write_turned(path, orientation, size=SIZE):
    """Writes a JPEG that is stored with that size and displayed by that EXIF orientation."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", size[::-1], "green").save(path, "JPEG", exif=exif)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("made_on", ["stored", "displayed"])
def test_annotations_are_turned_as_their_image_is(tmp_path, orientation, made_on):
    displayed = SIZE[::-1] if orientation >= 5 else SIZE
    size = SIZE if made_on == "stored" else displayed
    train = document([annotation(1)], [image(1, size, "turned.jpg")])
    write_turned(tmp_path / "images" / "turned.jpg", orientation)
    tells = size != displayed or orientation in (1, 5, 6, 7, 8)
    if not tells:
        with pytest.raises(InputError, match=r"EXIF orientation .*--orientation=displayed or"):
            prepare_written(tmp_path, train)
    prepare_written(tmp_path, train, orientation=None if tells else made_on)
    found = stored(tmp_path)["turned.jpg"]
    (tmp_path / "upright").mkdir()
    prepare_written(tmp_path / "upright", document([annotation(1)], [image(1)]))
    upright = stored(tmp_path / "upright")["1.png"]
    mask = pixels_of(found.masks, displayed)[0]
    if made_on == "stored" or orientation == 1:
        expected = turned(pixels_of(upright.masks, SIZE)[0], orientation)
    else:
        expected = pixels_of(prepared_mask(TRIANGLE, displayed), displayed)[0]
    np.testing.assert_array_equal(mask, expected)
    # The box goes with the mask.
    rows, columns = np.nonzero(mask)
    x, y, width, height = found.boxes[0]
    assert x - 1 <= columns.min() <= columns.max() <= x + width + 1
    assert y - 1 <= rows.min() <= rows.max() <= y + height + 1


def prepared_mask(polygon, size):
    return [pycocotools.mask.frPyObjects([polygon], *size)[0]["counts"]]


def test_an_image_that_changes_after_its_header_was_read_is_named(tmp_path):
    files = write(tmp_path, document([annotation(1)]))
    split = CocoFiles(*(epath.Path(files[key]) for key in ("train_json", "train_images")))
    example = find_examples({"train": split}, Checks(MAX_IMAGE_PIXELS)).examples["train"][0]
    write_image(tmp_path / "images" / "1.png", (30, 20))
    with pytest.raises(InputError, match=r"1.png is 30x20 .* but 20x30 when its header was read"):
        example.load()


def test_names_and_folders_that_cannot_be_are_refused_first(tmp_path):
    files = write(tmp_path, document([annotation(1)]))
    with pytest.raises(UsageError, match="'coco' is the name of a data set of this library"):
        prepare_coco_json("coco", tmp_path / "data", **files)
    with pytest.raises(InputError, match="nowhere is not a folder; expected that of the images"):
        prepare_coco_json("own", tmp_path / "data", **files | {"train_images": "nowhere"})


@pytest.mark.parametrize(
    ("name", "division"),
    [
        ("bccd", "official_"),
        pytest.param("bccd", "", marks=pytest.mark.campaign),
        pytest.param("nuclei", "", marks=pytest.mark.campaign),
        pytest.param("balloon", "", marks=pytest.mark.campaign),
        pytest.param("balloon", "official_", marks=pytest.mark.campaign),
    ],
)
def test_photographs_with_annotations_are_prepared_whole(tmp_path, shared, name, division):
    folder = shared / "instances" / name
    paths = {split: folder / f"instances_{division}{split}.json" for split in ("train", "val")}
    options = {"train_json": paths["train"], "train_images": folder / "images"}
    prepare_coco_json("own", tmp_path / "data", **options, val_json=paths["val"])
    for split_name, path in paths.items():
        said = json.loads(path.read_text())
        counts = DATA_SETS.counts("own", tmp_path / "data", split_name)
        assert len(counts.annotated) == len(said["images"])
        assert counts.total == len(said["annotations"])
        records = DATA_SETS.open_split("own", tmp_path / "data", split_name)
        assert [int(record["image_id"]) for record in records] == [i["id"] for i in said["images"]]
        by_image = [annotations_of(record) for record in records]
        boxes = np.concatenate([each.boxes for each in by_image])
        expected = sorted(annotation["bbox"] for annotation in said["annotations"])
        np.testing.assert_allclose(sorted(boxes.tolist()), expected, rtol=1e-6)
        assert all((each.masks is not None) == (name != "bccd") for each in by_image)
    assert (DATA_SETS.folder("own", tmp_path / "data") / "samples.png").exists()


def test_categories_of_the_second_json_may_be_fewer_and_in_another_order(tmp_path):
    val = document([annotation(1, category_id=3)], categories=CATEGORIES[1:])
    prepare_written(tmp_path, document([annotation(1)]), val)
    assert stored(tmp_path, "val")["1.png"].classes.tolist() == [1]
