import shutil

import numpy as np
from PIL import Image

from gcnet_jax.tasks.segmentation.data import prepare
from tests.official_trees import make_ade20k, pack, read_values


def files(root, split):
    subfolder = {"train": "training", "val": "validation"}[split]
    folder = root / "ADEChallengeData2016"
    images = sorted((folder / "images" / subfolder).iterdir())
    return images, [folder / "annotations" / subfolder / f"{path.stem}.png" for path in images]


def expected_label(path):
    values = read_values(path).astype(int)
    return np.where(values == 0, 255, values - 1).astype(np.uint8)


def test_classes_count_from_zero_and_the_rest_is_ignored(tmp_path, stored, pixels):
    source = make_ade20k(tmp_path / "source", {"train": 20, "val": 3})
    prepare("ade20k", tmp_path / "data", source, pixels=pixels, subset=True)
    for split in ("train", "val"):
        images, labels = files(source, split)
        stored("ade20k", split, images, [expected_label(path) for path in labels], pixels)


def test_the_official_archive_is_unpacked(tmp_path, stored):
    source = make_ade20k(tmp_path / "source")
    copy = shutil.copytree(source, tmp_path / "copy")
    pack(source, tmp_path / "archives" / "ADEChallengeData2016.zip")
    prepare("ade20k", tmp_path / "data", tmp_path / "archives", subset=True)
    images, labels = files(copy, "val")
    stored("ade20k", "val", images, [expected_label(path) for path in labels], "as_found")


def test_counts_values_and_levels_are_checked(tmp_path, refused):
    source = make_ade20k(tmp_path / "source")
    refused("ade20k", source, "4 images in 'train', expected 20210; 3 .* 2000;", subset=False)
    refused("ade20k", source / "ADEChallengeData2016", f"; {source} does: give that")
    images, labels = files(source, "train")
    values = read_values(labels[1])
    values[0, 0] = 151
    Image.fromarray(values).save(labels[1])
    refused("ade20k", source, f"{labels[1].name}: label value 151; expected 0 to 150, of which 0")
    labels[1].unlink()
    refused("ade20k", source, f"{images[1]} has no label; expected {labels[1]}")
    shutil.rmtree(images[0].parent)
    refused("ade20k", source, f"{images[0].parent} is missing")
