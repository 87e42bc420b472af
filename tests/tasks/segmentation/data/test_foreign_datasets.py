"""Prepared data sets from strangers, and files that are not those that were prepared."""

import contextlib
import json
import os
import shutil
from pathlib import Path

import pytest
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter

from gcnet_jax.data import preparation
from gcnet_jax.errors import InputError
from gcnet_jax.tasks.segmentation.data import DATA_SETS, prepare

FEATURES = {
    "featuresDict": {
        "features": {
            "image": {
                "image": {"dtype": "uint8", "shape": {"dimensions": ["-1", "-1", "3"]}},
                "pythonClassName": "tensorflow_datasets.core.features.image_feature.Image",
            },
            "label": {
                "image": {
                    "dtype": "uint8",
                    "encodingFormat": "png",
                    "shape": {"dimensions": ["-1", "-1", "1"]},
                },
                "pythonClassName": "tensorflow_datasets.core.features.image_feature.Image",
            },
            "name": {
                "pythonClassName": "tensorflow_datasets.core.features.text_feature.Text",
                "text": {},
            },
            "size": {
                "pythonClassName": "tensorflow_datasets.core.features.tensor_feature.Tensor",
                "tensor": {"dtype": "int32", "encoding": "none", "shape": {"dimensions": ["2"]}},
            },
        }
    },
    "pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
}
"""As data sets that have been prepared so far describe their records."""


def test_data_sets_that_were_prepared_so_far_are_read(own_camvid, tmp_path):
    assert json.loads((own_camvid / "features.json").read_text()) == FEATURES
    contents = json.loads((own_camvid / "contents.json").read_text())
    for shards in contents["splits"].values():
        for shard in shards.values():
            del shard["identities"]  # which there were not before
    (own_camvid / "contents.json").write_text(json.dumps(contents))
    names = [record["name"] for record in DATA_SETS.open_split("camvid", tmp_path, "train")]
    assert names == [f"frame_{i:03d}".encode() for i in range(7)]


@pytest.mark.parametrize("place", ["all", "one feature", "beside", "legacy"])
def test_a_description_of_features_imports_no_module(own_camvid, tmp_path, monkeypatch, place):
    module = tmp_path / f"stranger_{tmp_path.name}.py"
    module.write_text("from pathlib import Path\nPath(__file__).with_suffix('.imported').touch()\n")
    monkeypatch.syspath_prepend(tmp_path)
    name = f"{module.stem}.Feature"
    features = json.loads(json.dumps(FEATURES))
    if place == "all":
        features["pythonClassName"] = name
    elif place == "one feature":
        features["featuresDict"]["features"]["size"]["pythonClassName"] = name
    elif place == "beside":
        more = {"pythonClassName": name, "text": {}}
        features["featuresDict"]["features"]["more"] = more
    else:
        features |= {"type": name, "content": {}}
    (own_camvid / "features.json").write_text(json.dumps(features))
    with pytest.raises(InputError, match=r"features\.json describes other features than this libr"):
        DATA_SETS.open_split("camvid", tmp_path, "val")
    assert not module.with_suffix(".imported").exists()
    with contextlib.suppress(Exception):  # the trap works: TFDS alone springs it
        tfds.builder_from_directory(own_camvid)
    assert module.with_suffix(".imported").exists()


@pytest.mark.parametrize(
    "content", ["", "[]", "[" * 100_000, '{"pythonClassName": "antigravity.X"}']
)
def test_a_description_of_features_that_is_none_is_named(own_camvid, tmp_path, content):
    (own_camvid / "features.json").write_text(content)
    with pytest.raises(InputError, match=r"2\.0\.0.* delete .* prepare 'camvid' again"):
        DATA_SETS.open_split("camvid", tmp_path, "val")


@pytest.mark.parametrize("name", ["features.json", "contents.json", "camvid-val.array_record"])
def test_a_pipe_among_the_files_of_a_data_set_is_not_waited_for(own_camvid, tmp_path, name):
    (file,) = own_camvid.glob(f"{name}*")
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(InputError, match=f"{file.name} is no regular file"):
        DATA_SETS.open_split("camvid", tmp_path, "val")


@pytest.mark.parametrize(
    "change",
    [
        {"fileFormat": "tfrecord"},
        {"fileFormat": "no such format"},
        {"splits": [{"name": "val", "shardLengths": ["2"]}]},
        {"splits": [{"name": "val", "shardLengths": ["4"], "filepathTemplate": "/etc/passwd"}]},
        {"splits": [{"name": "val", "shardLengths": ["4"], "filepathTemplate": "../{SPLIT}"}]},
        {"version": "../../.."},
        {"name": 7},
    ],
    ids=str,
)
def test_a_description_that_leads_elsewhere_is_refused(own_camvid, tmp_path, change):
    file = own_camvid / "dataset_info.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(InputError, match=r"2\.0\.0.* prepare 'camvid' again"):
        DATA_SETS.open_split("camvid", tmp_path, "val")


def test_a_file_that_is_cut_while_it_is_open_is_named(own_camvid, tmp_path):
    records = DATA_SETS.open_split("camvid", tmp_path, "train")
    assert records[0]["name"] == b"frame_000"  # which opens the file
    (file,) = own_camvid.glob("camvid-train.*")
    os.truncate(file, 10)
    with pytest.raises(InputError, match=rf"record 3 cannot be read .* from .*{file.name}; delete"):
        records[3]


@pytest.fixture
def many_shards(monkeypatch, camvid_tree, tmp_path):
    """A set of two images a shard, all of one size: the files of its training split, in order."""
    monkeypatch.setattr(preparation, "SHARD_BYTES", 300)
    folder = prepare("camvid", tmp_path / "data", camvid_tree(), subset=True)
    return sorted(Path(folder).glob("camvid-train.*"))


def test_a_file_in_the_place_of_another_is_noticed(many_shards, tmp_path):
    _, second, third = many_shards
    shutil.copyfile(third, second)
    records = DATA_SETS.open_split("camvid", tmp_path / "data", "train")
    assert records[1]["name"] == b"frame_001"
    for index in (2, 3):
        with pytest.raises(
            InputError, match=rf"record {index} is not the one .* in the place of .*{second.name};"
        ):
            records[index]
    assert records[4]["name"] == b"frame_004"


def test_a_file_of_another_data_set_with_the_same_names_is_noticed(many_shards, tmp_path):
    source = tmp_path / "source"  # whose labels become all the same
    label = (source / "trainannot" / "frame_005.png").read_bytes()
    for file in (source / "trainannot").iterdir():
        file.write_bytes(label)
    folder = prepare("camvid", tmp_path / "other data", source, subset=True)
    for file in many_shards:
        shutil.copyfile(Path(folder) / file.name, file)
    records = DATA_SETS.open_split("camvid", tmp_path / "data", "train")
    for index in range(5):
        with pytest.raises(InputError, match=rf"record {index} is not the one that was prepared"):
            records[index]
    assert records[5]["name"] == b"frame_005"  # whose label is the same in both


def test_without_identities_the_sizes_of_images_still_tell_records_apart(own_camvid, tmp_path):
    contents = json.loads((own_camvid / "contents.json").read_text())
    for shards in contents["splits"].values():
        for shard in shards.values():
            del shard["identities"]
    (own_camvid / "contents.json").write_text(json.dumps(contents))
    (train,), (test,) = own_camvid.glob("camvid-train.*"), own_camvid.glob("camvid-test.*")
    shutil.copyfile(train, test)
    records = DATA_SETS.open_split(
        "camvid", tmp_path, "test"
    )  # whose every second image is smaller
    assert records[0]["name"] == b"frame_000"
    with pytest.raises(InputError, match="record 1 is not the one that was prepared"):
        records[1]


@pytest.mark.parametrize("record", [b"", b"nothing of ours", b"\x0a\x00"])
def test_records_of_something_else_are_named(own_camvid, tmp_path, record):
    contents = json.loads((own_camvid / "contents.json").read_text())
    contents["splits"]["val"]["0"]["identities"] = []
    (own_camvid / "contents.json").write_text(json.dumps(contents))
    (file,) = own_camvid.glob("camvid-val.*")
    writer = ArrayRecordWriter(str(file), "group_size:1")
    for _ in range(4):
        writer.write(record)
    writer.close()
    records = DATA_SETS.open_split("camvid", tmp_path, "val")
    with pytest.raises(InputError, match=rf"record 1 cannot be read .* from .*{file.name}; delete"):
        records[1]


def test_a_file_with_fewer_records_is_named(own_camvid, tmp_path):
    (train,), (val,) = own_camvid.glob("camvid-train.*"), own_camvid.glob("camvid-val.*")
    shutil.copyfile(val, train)
    records = DATA_SETS.open_split("camvid", tmp_path, "train")
    for index in range(4, 7):
        with pytest.raises(InputError, match=rf"record {index} cannot be read .*{train.name}"):
            records[index]
