import errno
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from gcnet_jax.data import unpacking
from gcnet_jax.errors import InputError
from gcnet_jax.tasks.segmentation.data import DATA_SETS, prepare
from tests.official_trees import make_cityscapes, pack, read_values

TRAIN_ID = {
    "road": 7,
    "sidewalk": 8,
    "building": 11,
    "wall": 12,
    "fence": 13,
    "pole": 17,
    "traffic light": 19,
    "traffic sign": 20,
    "vegetation": 21,
    "terrain": 22,
    "sky": 23,
    "person": 24,
    "rider": 25,
    "car": 26,
    "truck": 27,
    "bus": 28,
    "train": 31,
    "motorcycle": 32,
    "bicycle": 33,
}


def expected_label(path):
    values = read_values(path)
    label = np.full(values.shape, 255, np.uint8)
    for index, name in enumerate(DATA_SETS.meaning("cityscapes").names):
        label[values == TRAIN_ID[name]] = index
    return label


def files(root, split):
    images = sorted((root / "leftImg8bit" / split).rglob("*.png"))
    return images, [
        Path(str(path).replace("_leftImg8bit", "_gtFine_labelIds").replace("leftImg8bit", "gtFine"))
        for path in images
    ]


def test_every_id_becomes_its_class_or_ignored(tmp_path, stored, pixels):
    source = make_cityscapes(tmp_path / "source", {"train": 12, "val": 3, "test": 2})
    prepare("cityscapes", tmp_path / "data", source, pixels=pixels, subset=True)
    for split in ("train", "val", "test"):
        images, labels = files(source, split)
        expected = [expected_label(path) for path in labels]
        stored("cityscapes", split, images, expected, pixels)
        is_ignored = [(label == 255).all() for label in expected]
        assert all(is_ignored) if split == "test" else not any(is_ignored)


def test_the_official_archives_are_unpacked_once(tmp_path, stored, capfd):
    source = make_cityscapes(tmp_path / "source")
    copy = shutil.copytree(source, tmp_path / "copy")
    for kind in ("leftImg8bit", "gtFine"):
        (source / "content").mkdir()
        (source / kind).rename(source / "content" / kind)
        pack(source / "content", source / f"{kind}_trainvaltest.zip")
    prepare("cityscapes", tmp_path / "data", source, subset=True)
    assert "as unpacked" not in capfd.readouterr().err
    images, labels = files(copy, "train")
    stored("cityscapes", "train", images, [expected_label(path) for path in labels], "as_found")

    shutil.rmtree(tmp_path / "data" / "cityscapes" / "2.0.0")
    prepare("cityscapes", tmp_path / "data", source, subset=True)
    assert "Unpacking" not in capfd.readouterr().err


def test_the_official_counts_are_expected_unless_told_otherwise(tmp_path, refused):
    source = make_cityscapes(tmp_path / "source")
    message = (
        "4 images in 'train', expected 2975; 2 images in 'val', expected 500; "
        "2 images in 'test', expected 1525; if .*source is meant to be a part .* pass --subset"
    )
    refused("cityscapes", source, message, subset=False)


def test_a_part_that_is_missing_is_named_with_its_archive(tmp_path, refused):
    source = make_cityscapes(tmp_path / "source")
    shutil.rmtree(source / "gtFine")
    refused("cityscapes", source, r"source does not hold gtFine/ or gtFine_trainvaltest.zip")


@pytest.mark.parametrize("given", ["leftImg8bit", "gtFine/val", "..", "../.."])
def test_a_folder_of_another_level_is_answered_with_the_right_one(tmp_path, refused, given):
    source = make_cityscapes(tmp_path / "here" / "source")
    refused("cityscapes", source / given, f"does not hold .*; {source} does: give that")


def test_a_folder_above_the_archives_is_answered_with_the_right_one(tmp_path, refused):
    (tmp_path / "here" / "downloads").mkdir(parents=True)
    archive = tmp_path / "here" / "downloads" / "leftImg8bit_trainvaltest.zip"
    archive.touch()
    refused("cityscapes", tmp_path / "here", f"; {archive.parent} does: give that")


def test_unpacking_is_for_one_process_and_never_taken_for_the_whole_when_interrupted(
    tmp_path, monkeypatch, capfd
):
    source = make_cityscapes(tmp_path / "source")
    (source / "content").mkdir()
    (source / "leftImg8bit").rename(source / "content" / "leftImg8bit")
    pack(source / "content", source / "leftImg8bit_trainvaltest.zip")

    def write_some(content, file, *args):
        file.write(content.read(10))
        with pytest.raises(InputError, match=r"another process is writing .*unpacked"):
            prepare("cityscapes", tmp_path / "data", source, subset=True)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(unpacking.shutil, "copyfileobj", write_some)
        with pytest.raises(KeyboardInterrupt):
            prepare("cityscapes", tmp_path / "data", source, subset=True)
    prepare("cityscapes", tmp_path / "data", source, subset=True)
    assert "as unpacked" not in capfd.readouterr().err
    (unpacked,) = (tmp_path / "data" / "cityscapes" / "unpacked").iterdir()
    assert unpacked.suffix != ".partial"


def test_a_disk_without_room_for_an_archives_files_is_named(tmp_path, monkeypatch):
    source = make_cityscapes(tmp_path / "source")
    (source / "content").mkdir()
    (source / "leftImg8bit").rename(source / "content" / "leftImg8bit")
    pack(source / "content", source / "leftImg8bit_trainvaltest.zip")

    def full(content, file, *args):
        file.write(content.read(10))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(unpacking.shutil, "copyfileobj", full)
    with pytest.raises(InputError, match=r"trainvaltest\.zip cannot be unpacked .*No space left"):
        prepare("cityscapes", tmp_path / "data", source, subset=True)
    assert not list((tmp_path / "data" / "cityscapes" / "unpacked").iterdir())


def test_an_archive_of_another_size_is_unpacked_anew(tmp_path):
    for images, name in ((1, "first"), (3, "second")):
        source = make_cityscapes(tmp_path / name, {"train": images, "val": 1, "test": 1})
        (source / "content").mkdir()
        (source / "leftImg8bit").rename(source / "content" / "leftImg8bit")
        pack(source / "content", source / "leftImg8bit_trainvaltest.zip")
        prepare("cityscapes", tmp_path / "data", source, subset=True)
        assert DATA_SETS.split_size("cityscapes", tmp_path / "data", "train") == images
        shutil.rmtree(tmp_path / "data" / "cityscapes" / "2.0.0")


def test_nothing_is_unpacked_unless_all_is_there(tmp_path):
    source = make_cityscapes(tmp_path / "source")
    pack(source, tmp_path / "archives" / "leftImg8bit_trainvaltest.zip")
    with pytest.raises(InputError, match="gtFine"):
        prepare("cityscapes", tmp_path / "data", tmp_path / "archives", subset=True)
    assert not (tmp_path / "data" / "cityscapes" / "unpacked").exists()


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_archive_is_called_a_partial_download(tmp_path, refused, kept):
    source = make_cityscapes(tmp_path / "source")
    (source / "content").mkdir()
    (source / "leftImg8bit").rename(source / "content" / "leftImg8bit")
    archive = pack(source / "content", source / "leftImg8bit_trainvaltest.zip")
    archive.write_bytes(archive.read_bytes()[: int(kept * archive.stat().st_size)])
    refused("cityscapes", source, "leftImg8bit_trainvaltest.zip .* a partial download")


def test_an_archive_with_an_altered_byte_is_refused(tmp_path, refused):
    source = make_cityscapes(tmp_path / "source")
    (source / "content").mkdir()
    (source / "leftImg8bit").rename(source / "content" / "leftImg8bit")
    archive = pack(source / "content", source / "leftImg8bit_trainvaltest.zip")
    content = bytearray(archive.read_bytes())
    content[len(content) // 3] ^= 0xFF
    archive.write_bytes(content)
    refused("cityscapes", source, "leftImg8bit_trainvaltest.zip is not a whole archive")


def test_an_archive_of_something_else_is_refused(tmp_path, refused):
    source = make_cityscapes(tmp_path / "source")
    (source / "content").mkdir()
    (source / "leftImg8bit").rename(source / "content" / "rightImg8bit")
    pack(source / "content", source / "leftImg8bit_trainvaltest.zip")
    refused("cityscapes", source, "leftImg8bit_trainvaltest.zip does not hold leftImg8bit")


@pytest.mark.parametrize("value", [34, 100, 254])
def test_an_unknown_id_is_named_with_its_file(tmp_path, refused, value):
    source = make_cityscapes(tmp_path / "source")
    _, (path, *_) = files(source, "val")
    values = read_values(path)
    values[3, 4] = value
    cv2.imwrite(str(path), values)
    refused("cityscapes", source, f"{path.name}: label value {value}; expected 0 to 33, 255, of")


@pytest.mark.parametrize("kind", ["image", "label"])
def test_a_file_without_its_partner_is_named(tmp_path, refused, kind):
    source = make_cityscapes(tmp_path / "source")
    (image, *_), (label, *_) = files(source, "train")
    (label if kind == "image" else image).unlink()
    left, missing = (image, label) if kind == "image" else (label, image)
    refused("cityscapes", source, f"{left} has no .*; expected {missing}")
