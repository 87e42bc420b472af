import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from gcnet_jax.tasks.segmentation.data import DATA_SETS, decode, prepare


def prepared_samples(source, data_dir, split):
    prepare("camvid", data_dir, source, subset=True)
    return [decode(record) for record in DATA_SETS.open_split("camvid", data_dir, split)]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".PNG"])
def test_images_are_stored_as_they_are_and_void_becomes_ignored(camvid_tree, tmp_path, suffix):
    source = camvid_tree(suffix=suffix)
    prepare("camvid", tmp_path / "data", source, subset=True)
    records = DATA_SETS.open_split("camvid", tmp_path / "data", "train")
    assert len(records) == DATA_SETS.split_size("camvid", tmp_path / "data", "train") == 6
    assert [record["name"] for record in records] == [b"frame_%03d" % i for i in range(6)]
    for i, record in enumerate(records):
        path = source / "train" / f"frame_{i:03d}{suffix}"
        assert record["image"] == path.read_bytes()
        assert record["size"].tolist() == [12, 16]
        sample = decode(record)
        np.testing.assert_allclose(sample["image"], np.full((12, 16, 3), (i, 2 * i, 3 * i)), atol=2)
        assert (sample["label"][:-1] == i).all()
        assert (sample["label"][-1] == 255).all()


def test_palette_labels_are_read_as_indices_not_colours(camvid_tree, tmp_path):
    source = camvid_tree()
    path = source / "trainannot" / "frame_004.png"
    image = Image.open(path).copy()
    palette_image = Image.frombytes("P", image.size, image.tobytes())
    palette_image.putpalette([200, 100, 50] * 12)
    palette_image.save(path)
    samples = prepared_samples(source, tmp_path / "data", "train")
    assert (samples[4]["label"][:-1] == 4).all()


@pytest.mark.parametrize("folder", ["train", "valannot", "testannot"])
def test_a_missing_folder_is_named(camvid_tree, refused, folder):
    source = camvid_tree()
    shutil.rmtree(source / folder)
    refused("camvid", source, f"source/{folder} is missing")


def test_an_empty_folder_is_named(camvid_tree, refused):
    source = camvid_tree()
    for path in (source / "val").iterdir():
        path.unlink()
    refused("camvid", source, "no file matches .*source/val/")


def test_an_image_without_label_is_named(camvid_tree, refused):
    source = camvid_tree()
    (source / "testannot" / "frame_001.png").unlink()
    refused(
        "camvid", source, r"test/frame_001.png has no label; expected .*/testannot/frame_001.png"
    )


def test_a_label_without_image_is_named(camvid_tree, refused):
    source = camvid_tree()
    (source / "train" / "frame_002.png").unlink()
    refused("camvid", source, r"trainannot/frame_002.png has no image; expected .*/train/frame_002")


def test_two_images_of_one_name_are_named(camvid_tree, refused):
    source = camvid_tree()
    shutil.copy(source / "train" / "frame_002.png", source / "train" / "frame_002.jpg")
    refused("camvid", source, r"train/frame_002.jpg and frame_002.png share a name")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_truncated_image_is_named(camvid_tree, refused, suffix, kept):
    source = camvid_tree(suffix=suffix)
    path = source / "val" / f"frame_001{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    cv2.imwrite(str(path), noise)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    refused("camvid", source, f"val/frame_001{suffix}")


def test_a_truncated_label_is_named(camvid_tree, refused):
    source = camvid_tree()
    path = source / "valannot" / "frame_001.png"
    path.write_bytes(path.read_bytes()[:50])
    refused("camvid", source, "valannot/frame_001.png")


def test_a_file_that_is_no_image_is_named(camvid_tree, refused):
    source = camvid_tree()
    (source / "val" / "frame_001.png").write_text("moved to another server")
    refused("camvid", source, "val/frame_001.png: not an image")


def test_a_label_of_another_size_is_named_with_both_sizes(camvid_tree, refused):
    source = camvid_tree()
    cv2.imwrite(str(source / "trainannot" / "frame_003.png"), np.zeros((16, 12), np.uint8))
    refused("camvid", source, r"trainannot/frame_003.png is 16x12 .*expected 12x16")


@pytest.mark.parametrize("value", [12, 200, 255])
def test_a_label_outside_the_classes_is_named_with_its_value(camvid_tree, refused, value):
    source = camvid_tree()
    label = np.zeros((12, 16), np.uint8)
    label[3, 4] = value
    cv2.imwrite(str(source / "trainannot" / "frame_003.png"), label)
    refused(
        "camvid",
        source,
        f"trainannot/frame_003.png: label value {value}; expected 0 to 11, of which 11",
    )


def test_a_coloured_label_is_named(camvid_tree, refused):
    source = camvid_tree()
    cv2.imwrite(str(source / "trainannot" / "frame_003.png"), np.zeros((12, 16, 3), np.uint8))
    refused("camvid", source, r"trainannot/frame_003.png: the label has mode RGB; expected one")


def test_real_camvid_prepares_and_reads_back(shared, tmp_path):
    real = shared / "camvid"
    if not real.is_dir():
        pytest.skip(f"{real} is not there")
    for split in ("train", "val", "test"):
        (tmp_path / "source" / split).mkdir(parents=True)
        (tmp_path / "source" / f"{split}annot").mkdir()
        for image in sorted((real / split).iterdir())[:3]:
            label = real / f"{split}annot" / f"{image.stem}.png"
            shutil.copyfile(image, tmp_path / "source" / split / image.name)
            shutil.copyfile(label, tmp_path / "source" / f"{split}annot" / label.name)
    for split in ("train", "val", "test"):
        samples = prepared_samples(tmp_path / "source", tmp_path / "data", split)
        assert len(samples) == 3
        for sample in samples:
            assert sample["image"].shape == (360, 480, 3)
            assert set(np.unique(sample["label"])) <= {*range(11), 255}
            # In these frames the sky lies over the road, and is lighter.
            rows = np.arange(360)[:, None] * np.ones(480)
            sky, road = sample["label"] == 0, sample["label"] == 3
            assert rows[sky].mean() < rows[road].mean()
            assert sample["image"][sky].mean() > sample["image"][road].mean()
