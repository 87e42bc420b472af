import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from gcnet_jax.errors import InputError
from gcnet_jax.tasks.segmentation.data import DATA_SETS, decode, prepare
from gcnet_jax.tasks.segmentation.data.sources import context_shapes


@pytest.fixture
def few_shapes(monkeypatch, tmp_path):
    """A folder for data, and context shapes reduced to a few images."""
    monkeypatch.setattr(context_shapes, "SPLIT_SIZES", {"train": 5, "val": 2, "test": 3})
    return tmp_path / "data"


def test_context_shapes_are_stored_losslessly_in_order(few_shapes):
    folder = prepare("context_shapes", few_shapes)
    assert {path.name.split(".")[0] for path in folder.iterdir()} >= {
        "context_shapes-train",
        "context_shapes-val",
        "context_shapes-test",
    }
    for seed, split in enumerate(("train", "val", "test")):
        for index, record in enumerate(DATA_SETS.open_split("context_shapes", few_shapes, split)):
            image, label = context_shapes.generate(seed, index)
            sample = decode(record)
            assert record["name"] == f"{split}_{index:04d}".encode()
            assert (sample["image"] == image).all()
            assert (sample["label"] == label).all()
    assert DATA_SETS.split_size("context_shapes", few_shapes, "train") == 5


def test_preparing_again_changes_nothing(few_shapes):
    folder = prepare("context_shapes", few_shapes)
    written = {path: Path(path).stat().st_mtime_ns for path in folder.iterdir()}
    assert prepare("context_shapes", few_shapes) == folder
    assert {path: Path(path).stat().st_mtime_ns for path in folder.iterdir()} == written


def test_preparing_shows_progress_on_stderr_and_says_nothing_else(few_shapes, capfd):
    prepare("context_shapes", few_shapes)
    output = capfd.readouterr()
    assert output.out == ""
    assert "Preparing train" in output.err
    assert not [line for line in output.err.splitlines() if "Preparing" not in line]


def test_an_interrupted_preparation_leaves_nothing_that_looks_finished(few_shapes, monkeypatch):
    generate = context_shapes.generate

    def interrupted(seed, index):
        if seed == 1:
            raise KeyboardInterrupt
        return generate(seed, index)

    monkeypatch.setattr(context_shapes, "generate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare("context_shapes", few_shapes)
    with pytest.raises(InputError, match="not prepared"):
        DATA_SETS.open_split("context_shapes", few_shapes, "train")
    monkeypatch.undo()


def test_remains_of_a_killed_preparation_are_not_taken_for_data(few_shapes):
    folder = prepare("context_shapes", few_shapes)
    folder.rename(folder.parent / "unfinished-2.0.0")
    with pytest.raises(InputError, match="not prepared"):
        DATA_SETS.open_split("context_shapes", few_shapes, "train")
    prepare("context_shapes", few_shapes)
    assert DATA_SETS.split_size("context_shapes", few_shapes, "train") == 5


def test_a_prepared_folder_without_its_description_is_not_taken_for_data(few_shapes):
    folder = prepare("context_shapes", few_shapes)
    (folder / "dataset_info.json").unlink()
    with pytest.raises(InputError, match="has lost some of its files; delete"):
        DATA_SETS.open_split("context_shapes", few_shapes, "train")
    with pytest.raises(InputError, match="holds no whole data set; delete"):
        prepare("context_shapes", few_shapes)


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
def test_a_truncated_description_is_named(few_shapes, name):
    file = prepare("context_shapes", few_shapes) / name
    file.write_text(file.read_text()[:40])
    with pytest.raises(InputError, match=r"the description of .*2\.0\.0 is damaged .*; delete"):
        DATA_SETS.open_split("context_shapes", few_shapes, "train")


def test_an_unknown_dataset_is_answered_with_the_known_ones(tmp_path):
    with pytest.raises(InputError, match=r"'ade'.*camvid, cityscapes, context_shapes"):
        prepare("ade", tmp_path)
    with pytest.raises(InputError, match=r"'mine' is not prepared .*camvid, cityscapes, context"):
        DATA_SETS.open_split("mine", tmp_path, "train")


def test_a_misspelt_dataset_is_not_taken_for_a_folder_to_prepare(few_shapes):
    with pytest.raises(InputError, match=r"no official data set 'ade' \(did you mean 'ade20k'\?\)"):
        prepare("ade", few_shapes)
    with pytest.raises(InputError, match=r"unknown data set 'CamVid' \(did you mean 'camvid'\?\)"):
        DATA_SETS.meaning("CamVid")
    with pytest.raises(InputError) as raised:
        DATA_SETS.meaning("cityscape", few_shapes)
    assert "not prepared" in str(raised.value)
    assert "did you mean 'cityscapes'?" in str(raised.value)
    assert "gcnet prepare_dataset" not in str(raised.value)


def test_a_dataset_of_ones_own_is_among_those_that_may_be_meant(few_shapes):
    prepare("context_shapes", few_shapes).parent.rename(few_shapes / "potsdam")
    with pytest.raises(InputError, match=r"did you mean 'potsdam'\?"):
        DATA_SETS.open_split("postdam", few_shapes, "train")


def test_no_name_at_all_is_no_name_of_a_folder(few_shapes):
    with pytest.raises(InputError, match=r"no data set is named \(data\.name is empty\)"):
        DATA_SETS.meaning("", few_shapes)


def test_camvid_needs_a_source(tmp_path):
    with pytest.raises(InputError, match=r"'camvid' needs a source: a folder with train/"):
        prepare("camvid", tmp_path)
    with pytest.raises(InputError, match=r"nowhere is not a folder; expected a folder with train/"):
        prepare("camvid", tmp_path, tmp_path / "nowhere")


def test_context_shapes_refuse_a_source(tmp_path):
    with pytest.raises(InputError, match=r"'context_shapes' is generated and takes no source"):
        prepare("context_shapes", tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("context_shapes", "gcnet prepare_dataset context_shapes --data_dir"),
        ("camvid", "gcnet prepare_dataset camvid --source FOLDER --data_dir"),
    ],
)
def test_data_that_is_not_prepared_is_answered_with_the_command(tmp_path, name, command):
    with pytest.raises(InputError, match=command):
        DATA_SETS.open_split(name, tmp_path, "train")


def test_data_of_another_version_is_not_taken_and_named(tmp_path):
    old = tmp_path / "camvid" / "1.0.0"
    old.mkdir(parents=True)
    (old / "dataset_info.json").write_text("{}")
    message = r"'camvid' is not prepared .*camvid/1.0.0 is of another version .*can be deleted"
    with pytest.raises(InputError, match=message):
        DATA_SETS.open_split("camvid", tmp_path, "train")


def test_a_set_prepared_with_other_pixels_is_refused_and_stays(few_shapes):
    folder = prepare("context_shapes", few_shapes, pixels="uncompressed")
    message = (
        r"with pixels 'uncompressed', not 'as_found'; delete .*context_shapes/2.0.0 and prepare"
    )
    with pytest.raises(InputError, match=message):
        prepare("context_shapes", few_shapes)
    assert prepare("context_shapes", few_shapes, pixels="uncompressed") == folder
    assert DATA_SETS.split_size("context_shapes", few_shapes, "val") == 2


def test_a_part_of_an_official_set_is_not_left_when_the_whole_is_asked_for(camvid_tree, tmp_path):
    source = camvid_tree()
    folder = prepare("camvid", tmp_path / "data", source, subset=True)
    assert prepare("camvid", tmp_path / "data", source, subset=True) == folder
    message = r"6 images in 'train', expected 367; .*2.0.0 holds a part of it: delete that, or pass"
    with pytest.raises(InputError, match=message):
        prepare("camvid", tmp_path / "data", source)


def test_image_sizes_are_known_without_reading_records(camvid_dir, tmp_path):
    shutil.copytree(camvid_dir, tmp_path, dirs_exist_ok=True)
    for file in tmp_path.rglob("*.array_record-*"):
        file.unlink()
    sizes = DATA_SETS.image_sizes("camvid", tmp_path, "test")
    assert sizes.tolist() == [[12, 16], [10, 20]] * 3
    assert sizes.shape == (6, 2)
    assert sizes.dtype == np.int32
    with pytest.raises(InputError, match="no split 'tset'; its splits are train, val, test"):
        DATA_SETS.image_sizes("camvid", tmp_path, "tset")
    with pytest.raises(InputError, match="not prepared"):
        DATA_SETS.image_sizes("camvid", tmp_path / "elsewhere", "test")


@pytest.mark.parametrize("content", [None, "", "{", "{}", "[]", '{"pixels": 1, "splits": {}}'])
def test_a_lost_table_of_contents_is_named(camvid_dir, tmp_path, content):
    shutil.copytree(camvid_dir, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "camvid" / "2.0.0" / "contents.json"
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=r"contents.json is missing or damaged .*delete .*2.0.0"):
        DATA_SETS.split_names("camvid", tmp_path)


@pytest.mark.parametrize(
    "harm",
    [
        {"sizes": 7},
        {"sizes": [[12, 16]] * 3 + [[12]]},
        {"sizes": [[12, 16]] * 3 + [["12", 16]]},
        {"sizes": [[12, 16]] * 3 + [[0, 16]]},
        {"sizes": [[12, 16]] * 3 + [[-12, -16]]},
        {"sizes": [[12, 16]] * 3 + [[1 << 20, 1 << 20]]},
        {"sizes": [[12, 16]] * 3 + [[float("inf"), 16]]},
        {"sizes": [[12, 16]] * 3},
        {"identities": [1, 2, 3]},
        {"identities": [1, 2, 3, 1 << 70]},
        {"identities": [1, 2, 3, None]},
        {"fingerprint": None, "sizes": None},
        {"counts": {"images": float("inf"), "pixels": [], "images_with": [], "ignored": 0}},
    ],
    ids=str,
)
def test_a_table_of_contents_with_impossible_entries_is_one_error(own_camvid, tmp_path, harm):
    contents = json.loads((own_camvid / "contents.json").read_text())
    contents["splits"]["val"]["0"] |= harm
    (own_camvid / "contents.json").write_text(json.dumps(contents))
    with pytest.raises(InputError, match=r"delete .*2\.0\.0 and prepare"):
        DATA_SETS.open_split("camvid", tmp_path, "val")


@pytest.mark.parametrize(
    "classes",
    [
        {"names": ["a"], "palette": [[float("inf"), 0, 0]]},
        {"names": ["a"], "palette": [[300, 0, 0]]},
        {"names": ["a"], "palette": [[1.5, 0, 0]]},
        {"names": ["a"], "palette": []},
        {"names": [7], "palette": [[0, 0, 0]]},
        {"names": ["\x1b[2J"], "palette": [[0, 0, 0]]},
    ],
    ids=str,
)
def test_classes_that_are_none_are_one_error(own_camvid, tmp_path, classes):
    contents = json.loads((own_camvid / "contents.json").read_text())
    (own_camvid / "contents.json").write_text(json.dumps(contents | {"classes": classes}))
    with pytest.raises(InputError, match=r"contents\.json is missing or damaged"):
        DATA_SETS.open_split("camvid", tmp_path, "val")


def test_the_splits_of_a_prepared_dataset_are_listed(camvid_dir, tmp_path):
    assert set(DATA_SETS.split_names("camvid", camvid_dir)) == {"train", "val", "test"}
    with pytest.raises(InputError, match="not prepared"):
        DATA_SETS.split_names("camvid", tmp_path)


def test_an_unknown_split_is_answered_with_those_that_exist(camvid_dir):
    with pytest.raises(InputError, match=r"no split 'validation'; its splits are .*val"):
        DATA_SETS.open_split("camvid", camvid_dir, "validation")


def test_a_missing_file_of_a_prepared_dataset_is_named(camvid_dir, tmp_path):
    shutil.copytree(camvid_dir, tmp_path, dirs_exist_ok=True)
    (file,) = tmp_path.rglob("*-val.array_record*")
    file.unlink()
    with pytest.raises(InputError, match=f"{file.name} is missing; delete"):
        DATA_SETS.open_split("camvid", tmp_path, "val")
    assert len(DATA_SETS.open_split("camvid", tmp_path, "train")) == 7


@pytest.mark.parametrize("damage", ["truncated", "altered"])
def test_a_damaged_file_of_a_prepared_dataset_is_named(camvid_dir, tmp_path, damage):
    shutil.copytree(camvid_dir, tmp_path, dirs_exist_ok=True)
    (file,) = tmp_path.rglob("*-val.array_record*")
    content = bytearray(file.read_bytes())
    if damage == "truncated":
        content = content[:1000]
    else:
        position = content.find(b"frame_000")
        assert position > 0
        content[position] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(InputError, match=f"cannot be read .*{file.name}; delete"):
        list(DATA_SETS.open_split("camvid", tmp_path, "val"))


def test_records_are_found_by_index_only_within_the_split(camvid_dir):
    records = DATA_SETS.open_split("camvid", camvid_dir, "train")
    assert records[6]["name"] == b"frame_006"
    for index in (7, -1):
        with pytest.raises(IndexError, match="split of 7"):
            records[index]


def test_a_split_travels_to_another_process(camvid_dir):
    records = DATA_SETS.open_split("camvid", camvid_dir, "train")
    pickled = pickle.dumps(records)
    assert len(pickled) < 50_000
    assert pickle.loads(pickled)[3]["name"] == b"frame_003"
