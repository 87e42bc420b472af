"""COCO from its official folders or archives."""

import dataclasses
import json
import zipfile

import pytest

from gcnet_jax.errors import InputError, UsageError
from gcnet_jax.tasks.detection.classes import known_classes
from gcnet_jax.tasks.detection.data import (
    DATA_SETS,
    OFFICIAL_SETS,
    annotations_of,
    prepare,
    prepare_sets,
)
from tests.tasks.detection.data.coco_written import annotation, document, image, write_image

CLASSES = known_classes("coco")
CATEGORIES = [
    {"id": i, "name": name, "supercategory": "thing"}
    for i, name in zip(CLASSES.category_ids or (), CLASSES.names, strict=True)
]


@pytest.fixture
def release(tmp_path, monkeypatch):
    """A folder as COCO's: 3 training images and 2 for validation, as many as are expected."""
    coco = dataclasses.replace(OFFICIAL_SETS["coco"], counts={"train": 3, "val": 2})
    sets = dataclasses.replace(DATA_SETS, official={"coco": coco})
    monkeypatch.setattr(prepare_sets, "DATA_SETS", sets)
    return write_release(tmp_path / "source")


def write_release(folder):
    (folder / "annotations").mkdir(parents=True)
    for split, ids in (("train", (9, 4, 5)), ("val", (9, 139))):
        images = [image(i, name=f"{i:012}.jpg") for i in ids]
        annotations = [annotation(i, ids[0], category_id=c) for i, c in ((1, 90), (2, 1))]
        for each in images:
            write_image(folder / f"{split}2017" / each["file_name"])
        text = json.dumps(document(annotations, images, CATEGORIES))
        (folder / "annotations" / f"instances_{split}2017.json").write_text(text)
    return folder


def test_coco_keeps_its_order_its_ids_and_images_without_objects(release, tmp_path):
    with pytest.raises(
        InputError, match=r"split 'train' has no object of classes .* pass --subset"
    ):
        prepare("coco", tmp_path / "data", release)
    prepare("coco", tmp_path / "data", release, subset=True)
    records = DATA_SETS.open_split("coco", tmp_path / "data", "train")
    assert [int(record["image_id"]) for record in records] == [9, 4, 5]
    assert annotations_of(records[0]).classes.tolist() == [79, 0]
    assert DATA_SETS.counts("coco", tmp_path / "data", "train").annotated.tolist() == [2, 0, 0]
    assert DATA_SETS.meaning("coco") == DATA_SETS.meaning("coco", tmp_path / "data") == CLASSES


def test_coco_is_read_from_its_archives_split_by_split(release, tmp_path):
    archives = tmp_path / "archives"
    archives.mkdir()
    for archive, folder in (("val2017", "val2017"), ("annotations_trainval2017", "annotations")):
        with zipfile.ZipFile(archives / f"{archive}.zip", "w") as file:
            for path in (release / folder).iterdir():
                file.write(path, f"{folder}/{path.name}")
    prepare("coco", tmp_path / "data", archives, splits=["val"])
    assert DATA_SETS.split_size("coco", tmp_path / "data", "val") == 2
    with pytest.raises(InputError, match=r"does not hold train2017/ or train2017.zip"):
        prepare("coco", tmp_path / "data", archives)
    with pytest.raises(
        UsageError, match=r"val2017/ or val2017.zip, and annotations/ or annotations"
    ):
        prepare("coco", tmp_path / "other")


def test_images_that_are_missing_are_listed_and_left_out_of_a_subset(release, tmp_path):
    missing = release / "val2017" / "000000000139.jpg"
    missing.unlink()
    with pytest.raises(InputError, match=f"image 139: there is no file {missing}; nothing"):
        prepare("coco", tmp_path / "data", release, splits=["val"])
    prepare("coco", tmp_path / "data", release, splits=["val"], subset=True)
    assert DATA_SETS.split_size("coco", tmp_path / "data", "val") == 1


def test_another_number_of_images_than_the_release_has_is_refused(release, tmp_path):
    path = release / "annotations" / "instances_val2017.json"
    changed = json.loads(path.read_text())
    path.write_text(json.dumps(changed | {"images": changed["images"][:1]}))
    with pytest.raises(InputError, match=r"1 images in 'val', expected 2; .*pass --subset"):
        prepare("coco", tmp_path / "data", release, splits=["val"])
    assert OFFICIAL_SETS["coco"].counts == {"train": 118_287, "val": 5_000}


def test_other_categories_than_cocos_are_listed(release, tmp_path):
    path = release / "annotations" / "instances_val2017.json"
    changed = json.loads(path.read_text())
    changed["categories"][4]["name"] = "plane"
    path.write_text(json.dumps(changed))
    message = "category 5: is 'plane', but the official set has 'airplane'"
    with pytest.raises(InputError, match=message):
        prepare("coco", tmp_path / "data", release, splits=["val"])


def test_strict_refuses_images_without_annotation(release, tmp_path):
    with pytest.raises(InputError, match="image 139: has no annotation"):
        prepare("coco", tmp_path / "data", release, splits=["val"], strict=True)


def test_annotations_of_the_release_that_are_none_are_no_faults(release, tmp_path):
    path = release / "annotations" / "instances_train2017.json"
    changed = json.loads(path.read_text())
    line = [296.65, 388.33, 296.65, 388.33, 297.68, 388.33, 297.68, 388.33]  # of annotation 918
    entries = {"segmentation": [line], "area": 0.0, "bbox": [296.65, 388.33, 1.03, 0.0]}
    triangle = [2.0, 3.0, 14.5, 4.0, 6.0, 12.5]
    short = annotation(919, 9, segmentation=[[1, 2, 3, 4], triangle], category_id=1)
    changed["annotations"] += [annotation(918, 9, category_id=62, **entries), short]
    path.write_text(json.dumps(changed))
    prepare("coco", tmp_path / "data", release, subset=True, splits=["train"])
    counts = DATA_SETS.counts("coco", tmp_path / "data", "train")
    assert (counts.annotated[0], counts.trainable[0]) == (4, 3)
    masks = annotations_of(DATA_SETS.open_split("coco", tmp_path / "data", "train")[0]).masks
    assert masks is not None
    assert masks[3] == masks[0]
