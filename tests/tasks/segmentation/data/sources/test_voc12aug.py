import shutil

import numpy as np
import pytest
import scipy.io

from gcnet_jax.tasks.segmentation.data import prepare
from tests.official_trees import make_voc12aug, pack, read_values

VOC, SBD = "VOCdevkit/VOC2012", "benchmark_RELEASE/dataset"


def expected(root, split):
    """The images of a split and their labels, by the definition of the augmented training set."""
    voc, sbd = root / VOC, root / SBD
    voc_lists = voc / "ImageSets" / "Segmentation"
    lists = (voc_lists / "train.txt", sbd / "train.txt", sbd / "val.txt")
    names = held_out = set((voc_lists / "val.txt").read_text().splitlines())
    if split == "train":
        names = {name for path in lists for name in path.read_text().splitlines()} - held_out
    images = [voc / "JPEGImages" / f"{name}.jpg" for name in sorted(names)]
    labels = []
    for image in images:
        own = voc / "SegmentationClass" / f"{image.stem}.png"
        if own.exists():
            labels.append(read_values(own))
        else:
            mat = scipy.io.loadmat(
                str(sbd / "cls" / f"{image.stem}.mat"), squeeze_me=True, struct_as_record=False
            )
            labels.append(mat["GTcls"].Segmentation)
    return images, labels


def test_training_takes_both_releases_and_nothing_of_the_validation_split(tmp_path, stored, pixels):
    source = make_voc12aug(tmp_path / "source", {"train": 9, "val": 4})
    prepare("voc12aug", tmp_path / "data", source, pixels=pixels, subset=True)
    for split, count in (("train", 9), ("val", 4)):
        images, labels = expected(source, split)
        assert len(images) == count
        stored("voc12aug", split, images, labels, pixels)


def test_the_official_archives_are_unpacked(tmp_path, stored):
    source = make_voc12aug(tmp_path / "source")
    copy = shutil.copytree(source, tmp_path / "copy")
    for folder, archive in (
        ("VOCdevkit", "VOCtrainval_11-May-2012.tar"),
        ("benchmark_RELEASE", "benchmark.tgz"),
    ):
        (source / "content").mkdir()
        (source / folder).rename(source / "content" / folder)
        pack(source / "content", source / archive)
    prepare("voc12aug", tmp_path / "data", source, subset=True)
    stored("voc12aug", "train", *expected(copy, "train"), "as_found")


@pytest.mark.parametrize("kept", [0.0, 0.4, 0.7])
@pytest.mark.parametrize(
    ("folder", "archive"),
    [("VOCdevkit", "VOCtrainval_11-May-2012.tar"), ("benchmark_RELEASE", "benchmark.tgz")],
)
def test_a_truncated_archive_is_called_a_partial_download(tmp_path, refused, folder, archive, kept):
    source = make_voc12aug(tmp_path / "source")
    (source / "content").mkdir()
    (source / folder).rename(source / "content" / folder)
    path = pack(source / "content", source / archive)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    refused("voc12aug", source, f"{archive} .* a partial download")


@pytest.mark.parametrize(
    "file",
    [
        f"{VOC}/ImageSets/Segmentation/train.txt",
        f"{VOC}/ImageSets/Segmentation/val.txt",
        f"{SBD}/train.txt",
        f"{SBD}/val.txt",
        f"{VOC}/JPEGImages/2007_000000.jpg",
        f"{VOC}/SegmentationClass/2007_000000.png",
        f"{SBD}/cls/2009_000002.mat",
    ],
)
def test_a_missing_file_is_named(tmp_path, refused, file):
    source = make_voc12aug(tmp_path / "source")
    (source / file).unlink()
    refused("voc12aug", source, f"{file} is missing")


def test_counts_are_expected_unless_told_otherwise(tmp_path, refused):
    source = make_voc12aug(tmp_path / "source")
    message = "4 images in 'train', expected 10582; 3 images in 'val', expected 1449; .*--subset"
    refused("voc12aug", source, message, subset=False)


@pytest.mark.parametrize("given", [VOC, "VOCdevkit", "benchmark_RELEASE", ".."])
def test_a_folder_of_another_level_is_answered_with_the_right_one(tmp_path, refused, given):
    source = make_voc12aug(tmp_path / "source")
    refused("voc12aug", source / given, f"; {source} does: give that")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a label of SBD"),
        (b"<html>moved</html>" * 20, "not a label of SBD"),
        ({"GTinst": {"Segmentation": np.zeros((4, 5), np.uint8)}}, "not a label of SBD"),
        ({"GTcls": {"Boundaries": np.zeros((4, 5), np.uint8)}}, "not a label of SBD"),
        ({"GTcls": {"Segmentation": np.full((4, 5), 21, np.uint8)}}, "label value 21; expected"),
        ({"GTcls": {"Segmentation": np.full((4, 5), 0.5)}}, "float64 of shape"),
        ({"GTcls": {"Segmentation": np.zeros((4, 5), np.uint8)}}, "is 4x5 .*expected .*jpg"),
    ],
    ids=["empty", "no mat", "other mat", "other field", "other class", "fractions", "other size"],
)
def test_a_label_of_sbd_that_is_none_is_named(tmp_path, refused, content, message):
    source = make_voc12aug(tmp_path / "source")
    path = source / SBD / "cls" / "2009_000002.mat"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        scipy.io.savemat(path, content)
    refused("voc12aug", source, f"2009_000002.mat.*{message}")


def test_a_truncated_label_of_sbd_is_named(tmp_path, refused):
    source = make_voc12aug(tmp_path / "source")
    path = source / SBD / "cls" / "2009_000002.mat"
    path.write_bytes(path.read_bytes()[:-20])
    refused("voc12aug", source, "2009_000002.mat: not a label of SBD")


def test_labels_that_matlab_kept_as_floats_are_taken(tmp_path, stored):
    source = make_voc12aug(tmp_path / "source")
    path = source / SBD / "cls" / "2009_000002.mat"
    values = scipy.io.loadmat(path)["GTcls"]["Segmentation"][0, 0].astype(np.float64)
    scipy.io.savemat(path, {"GTcls": {"Segmentation": values}})
    prepare("voc12aug", tmp_path / "data", source, subset=True)
    stored("voc12aug", "train", *expected(source, "train"), "as_found")
