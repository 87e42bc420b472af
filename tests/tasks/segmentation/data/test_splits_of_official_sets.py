"""Some splits of an official set: only their files are needed, and others are added later."""

import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds

from gcnet_jax.data import preparation
from gcnet_jax.errors import InputError
from gcnet_jax.tasks.segmentation.data import DATA_SETS, decode, prepare
from tests.official_trees import make_ade20k, make_camvid, make_cityscapes, make_voc12aug

MAKERS = {
    "ade20k": make_ade20k,
    "camvid": make_camvid,
    "cityscapes": make_cityscapes,
    "voc12aug": make_voc12aug,
}
# By data set: what is there for the validation split alone.
NOT_OF_VAL = {
    "ade20k": ["ADEChallengeData2016/images/training", "ADEChallengeData2016/annotations/training"],
    "camvid": ["train", "trainannot", "test", "testannot"],
    "cityscapes": [f"{kind}/{s}" for kind in ("leftImg8bit", "gtFine") for s in ("train", "test")],
    "voc12aug": ["benchmark_RELEASE", "VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt"],
}


def records(name, data_dir, split):
    return [
        {key: value.tolist() if key in ("image", "label") else value for key, value in s.items()}
        for s in map(decode, DATA_SETS.open_split(name, data_dir, split))
    ]


@pytest.mark.parametrize("name", MAKERS)
def test_only_the_files_of_the_named_splits_are_needed_and_others_are_added(name, tmp_path):
    whole = MAKERS[name](tmp_path / "whole")
    prepare(name, tmp_path / "expected", whole, subset=True)
    source = shutil.copytree(whole, tmp_path / "source")
    for path in NOT_OF_VAL[name]:
        (shutil.rmtree if (source / path).is_dir() else type(source).unlink)(source / path)
    data = tmp_path / "data"
    folder = prepare(name, data, source, splits=["val"], subset=True)
    assert DATA_SETS.split_names(name, data) == ("val",)
    with pytest.raises(InputError, match=r"missing|does not hold|no file matches"):
        prepare(name, data, source, subset=True)
    files = {path: path.stat() for path in folder.glob("*-val.array_record*")}
    message = f"split 'train' of data set '{name}' is not prepared in .*, but val; prepare it with:"
    with pytest.raises(InputError, match=rf"{message} gcnet .* {name} .* --splits train"):
        DATA_SETS.open_split(name, data, "train")

    prepare(name, data, whole, splits=["train"], subset=True)
    assert set(DATA_SETS.split_names(name, data)) == {"val", "train"}
    prepare(name, data, whole, subset=True)
    assert {path: path.stat() for path in files} == files
    assert [path.name for path in (data / name).iterdir()] == ["2.0.0"]
    for split in DATA_SETS.split_names(name, tmp_path / "expected"):
        assert records(name, data, split) == records(name, tmp_path / "expected", split)
        counts = DATA_SETS.counts(name, tmp_path / "expected", split)
        assert DATA_SETS.counts(name, data, split) == counts
    described = tfds.builder_from_directory(folder).info.splits
    for split, info in tfds.builder_from_directory(
        tmp_path / "expected" / name / "2.0.0"
    ).info.splits.items():
        assert described[split].num_bytes == info.num_bytes
        assert described[split].num_examples == info.num_examples


def test_whole_splits_are_expected_of_those_that_are_named(tmp_path):
    source = make_voc12aug(tmp_path / "source")
    with pytest.raises(InputError, match=r"not complete: 3 images in 'val', expected 1449; if"):
        prepare("voc12aug", tmp_path / "data", source, splits=["val"])
    with pytest.raises(
        InputError, match=r"no split 'vall' \(did you mean 'val'\?\); its splits are"
    ):
        prepare("voc12aug", tmp_path / "data", source, splits=["vall"])
    with pytest.raises(InputError, match=r"needs a source: a folder with VOCdevkit.*\.tar$"):
        prepare("voc12aug", tmp_path / "data", splits=["val"])


@pytest.mark.parametrize("moves", range(5))
def test_an_interruption_while_a_split_is_added_leaves_those_that_are_there(
    tmp_path, monkeypatch, moves
):
    """At each of the files that move from where the split was made, the table of contents last."""
    source = make_camvid(tmp_path / "source")
    folder = prepare("camvid", tmp_path, source, splits=["val"], subset=True)
    before = records("camvid", tmp_path, "val")
    path_class = type(folder)
    replace, moved = path_class.replace, []

    def replace_so_many(self, target):
        if "unfinished" in str(self.parent) and "partial" not in self.name:
            if len(moved) == moves:
                raise KeyboardInterrupt
            moved.append(self.name)
        return replace(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(path_class, "replace", replace_so_many)
        with pytest.raises(KeyboardInterrupt):
            prepare("camvid", tmp_path, source, splits=["train"], subset=True)
    assert "contents.json" not in moved
    assert records("camvid", tmp_path, "val") == before
    assert DATA_SETS.split_names("camvid", tmp_path) == ("val",)
    # What has moved is made again, here in other shards; a shard that has not been moved is kept.
    monkeypatch.setattr(preparation, "SHARD_BYTES", 1)
    prepare("camvid", tmp_path, source, splits=["train"], subset=True)
    assert DATA_SETS.split_size("camvid", tmp_path, "train") == 4
    assert records("camvid", tmp_path, "val") == before
    assert len(list(folder.glob("camvid-train.*"))) == (
        4 if any("train" in x for x in moved) else 1
    )
    assert not (tmp_path / "camvid" / "unfinished-2.0.0").exists()


def test_a_split_that_is_added_is_stored_as_the_others_are(tmp_path):
    source = make_camvid(tmp_path / "source")
    prepare("camvid", tmp_path, source, splits=["val"], subset=True)
    with pytest.raises(InputError, match="prepared with pixels 'as_found', not 'uncompressed'"):
        prepare("camvid", tmp_path, source, splits=["train"], subset=True, pixels="uncompressed")


def test_a_generated_split_needs_no_others(tmp_path, monkeypatch):
    from gcnet_jax.tasks.segmentation.data.sources import context_shapes

    monkeypatch.setattr(context_shapes, "SPLIT_SIZES", {"train": 5, "val": 3, "test": 4})
    monkeypatch.setattr(preparation, "SHARD_BYTES", 30_000)
    prepare("context_shapes", tmp_path, splits=["test"])
    assert DATA_SETS.split_names("context_shapes", tmp_path) == ("test",)
    prepare("context_shapes", tmp_path)
    for seed, (split, size) in enumerate(context_shapes.SPLIT_SIZES.items()):
        assert DATA_SETS.split_size("context_shapes", tmp_path, split) == size
        first = decode(DATA_SETS.open_split("context_shapes", tmp_path, split)[0])
        np.testing.assert_array_equal(first["image"], context_shapes.generate(seed, 0)[0])
