"""Interruptions at every point of a preparation, and what is stored in the end."""

import itertools
import json
import pickle
import resource
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from gcnet_jax import files
from gcnet_jax.data import contents, preparation, unfinished
from gcnet_jax.errors import InputError
from gcnet_jax.tasks.configs import load_config
from gcnet_jax.tasks.segmentation.data import DATA_SETS, decode, prepare, prepare_folder
from gcnet_jax.tasks.segmentation.data.sources import context_shapes
from tests.official_trees import make_ade20k, make_own_images
from tests.training_batches import labelled_batches

SIZES = {"train": 11, "val": 1, "test": 5}


@pytest.fixture
def small_shards(monkeypatch):
    """Context shapes of a few images, three in a shard."""
    monkeypatch.setattr(context_shapes, "SPLIT_SIZES", SIZES)
    monkeypatch.setattr(preparation, "SHARD_BYTES", 40_000)  # of 16 thousand each


def assert_whole(data_dir):
    for seed, (split, size) in enumerate(SIZES.items()):
        records = DATA_SETS.open_split("context_shapes", data_dir, split)
        assert len(records) == size
        for index, record in enumerate(records):
            image, label = context_shapes.generate(seed, index)
            sample = decode(record)
            assert record["name"] == f"{split}_{index:04d}".encode()
            np.testing.assert_array_equal(sample["image"], image)
            np.testing.assert_array_equal(sample["label"], label)
        sizes = DATA_SETS.image_sizes("context_shapes", data_dir, split)
        assert sizes.dtype == np.int32
        assert sizes.tolist() == [[64, 128]] * size
    whole = {"contents.json", "dataset_info.json", "features.json", "samples.png"}
    names = {path.name for path in (data_dir / "context_shapes" / "2.0.0").iterdir()}
    assert {name for name in names if "-of-" not in name} == whole
    assert [path.name for path in (data_dir / "context_shapes").iterdir()] == ["2.0.0"]


def dying(function, calls_before):
    """The function, which ends the program at one of its calls, before it does anything."""
    calls = iter(range(1_000_000))

    def call(*args, **kwargs):
        if next(calls) == calls_before:
            raise KeyboardInterrupt
        return function(*args, **kwargs)

    return call


def stored(folder):
    """How many images are in shards that are whole and entered."""
    table = folder / "contents.json"
    if table.exists():
        splits = json.loads(table.read_text())["splits"].values()
        return sum(len(shard["sizes"]) for shards in splits for shard in shards.values())
    states = [json.loads(path.read_text()) for path in folder.glob("[!.]*-0*.json")]
    return sum(len(state["sizes"]) for state in states)


@pytest.mark.parametrize(
    ("point", "calls_before", "images"),
    [
        *itertools.product(["context_shapes.generate"], [0, 1, 4, 6], [None]),
        *itertools.product(["preparation.ArrayRecordWriter"], [0, 4], [None]),
        *itertools.product(["preparation.ShardContents"], [0, 4], [None]),
        # begun.json, and the states of the seven shards
        *itertools.product(["unfinished.write_whole"], [0, 1, 4, 7], [None]),
        # when shards are whole, and then of each at the end, and of the folder
        *itertools.product(["files.LiteralPath.rename"], [0, 6], [None]),
        *itertools.product(["files.LiteralPath.rename"], [7, 9, 13, 14], [17]),
        *itertools.product(["contents.json.dumps"], [0, 1, 4, 6], [None]),
        ("contents.json.dumps", 12, 17),
        ("contents.write_whole", 0, 17),
        # of begun.json, and of states while shards get their final names
        *itertools.product(["files.LiteralPath.unlink"], [0, 1, 2, 7], [17]),
        ("preparation.tfds.folder_dataset.write_metadata", 0, 17),
    ],
)
def test_after_an_interruption_at_any_point_the_next_start_goes_on(
    small_shards, monkeypatch, tmp_path, point, calls_before, images
):
    """No image that is in a whole shard is made again; `images`: how many that must be."""
    module, *path, name = point.split(".")
    modules = (contents, context_shapes, files, preparation, unfinished)
    owner = {module.__name__.rpartition(".")[2]: module for module in modules}[module]
    for part in path:
        owner = getattr(owner, part)
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, dying(getattr(owner, name), calls_before))
        with pytest.raises(KeyboardInterrupt):
            prepare("context_shapes", tmp_path)
    with pytest.raises(InputError, match=r"not prepared .*goes on with what has been begun"):
        DATA_SETS.open_split("context_shapes", tmp_path, "train")
    whole = stored(tmp_path / "context_shapes" / "unfinished-2.0.0")
    assert images in (None, whole)
    made, generate = [], context_shapes.generate
    with monkeypatch.context() as patched:
        patched.setattr(
            context_shapes, "generate", lambda *args: (made.append(args), generate(*args))[1]
        )
        prepare("context_shapes", tmp_path)
    assert_whole(tmp_path)
    assert len(made) == len(set(made)) == sum(SIZES.values()) - whole


def test_what_ends_before_the_last_step_is_not_finished(small_shards, monkeypatch, tmp_path):
    with monkeypatch.context() as patched:
        patched.setattr(preparation.tfds.folder_dataset, "write_metadata", dying(None, 0))
        with pytest.raises(KeyboardInterrupt):
            prepare("context_shapes", tmp_path)
    with pytest.raises(InputError, match=r"not prepared"):
        DATA_SETS.open_split("context_shapes", tmp_path, "train")
    made = []
    monkeypatch.setattr(context_shapes, "generate", lambda *args: made.append(args))
    prepare("context_shapes", tmp_path)
    assert not made  # every shard was there
    monkeypatch.undo()
    assert DATA_SETS.split_size("context_shapes", tmp_path, "train") == 11


def test_whole_shards_are_kept_and_counted(small_shards, monkeypatch, tmp_path, capfd):
    made = []

    def generate(seed, index, *, function=context_shapes.generate, fail_at=(0, 8)):
        made.append((seed, index))
        if (seed, index) == fail_at:
            raise InputError("no more paint")
        return function(seed, index)

    with monkeypatch.context() as patched:
        patched.setattr(context_shapes, "generate", generate)
        with pytest.raises(InputError, match=r"no more paint"):
            prepare("context_shapes", tmp_path)
    shards = {path.name: path.stat().st_mtime_ns for path in tmp_path.rglob("train-*.array_record")}
    assert sorted(shards) == ["train-00000000.array_record", "train-00000003.array_record"]
    assert "are there" not in capfd.readouterr().err
    made.clear()
    with monkeypatch.context() as patched:
        patched.setattr(context_shapes, "generate", lambda s, i: generate(s, i, fail_at=None))
        folder = prepare("context_shapes", tmp_path)
    assert "train: 6 of 11 images are there" in capfd.readouterr().err
    assert min(index for seed, index in made if seed == 0) == 6
    final = [f"context_shapes-train.array_record-0000{i}-of-00004" for i in range(2)]
    assert [(folder / name).stat().mtime for name in final] == [
        mtime // 10**9 for _, mtime in sorted(shards.items())
    ]
    assert_whole(tmp_path)


def test_a_disk_that_is_full_is_named_and_room_lets_it_go_on(small_shards, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(
            InputError, match=r"train-00000000.array_record.partial cannot be written .*too large"
        ):
            prepare("context_shapes", tmp_path, pixels="uncompressed")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with pytest.raises(InputError, match="not prepared"):
        DATA_SETS.open_split("context_shapes", tmp_path, "train")
    prepare("context_shapes", tmp_path, pixels="uncompressed")
    assert_whole(tmp_path)


SLOW_PREPARATION = """
import sys, time
from gcnet_jax.data import preparation
from gcnet_jax.tasks.segmentation.data import prepare
from gcnet_jax.tasks.segmentation.data.sources import context_shapes

preparation.SHARD_BYTES = 40_000
context_shapes.SPLIT_SIZES = {"train": 11, "val": 1, "test": 5}
generate = context_shapes.generate
context_shapes.generate = lambda *args: (time.sleep(0.1), generate(*args))[1]
prepare("context_shapes", sys.argv[1])
"""


def test_a_killed_process_leaves_its_whole_shards_to_the_next(small_shards, tmp_path):
    folder = tmp_path / "context_shapes" / "unfinished-2.0.0"

    def number_of_shards():
        return len(list(folder.glob("[!.]*-0*.json")))

    before = 0
    for _ in range(2):
        process = subprocess.Popen([sys.executable, "-c", SLOW_PREPARATION, str(tmp_path)])
        give_up = time.monotonic() + 120
        while number_of_shards() <= before and time.monotonic() < give_up:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        with pytest.raises(InputError, match=r"not prepared"):
            DATA_SETS.open_split("context_shapes", tmp_path, "train")
        assert number_of_shards() > before
        before = number_of_shards()
    prepare("context_shapes", tmp_path)
    assert_whole(tmp_path)


def test_a_second_process_is_refused_while_one_writes(small_shards, monkeypatch, tmp_path):
    generate = context_shapes.generate
    started, refused = [], []

    def generate_and_start_another(seed, index):
        if (seed, index) == (2, 4) and not started:
            started.append(True)
            with pytest.raises(InputError, match=r"another process .*unfinished") as error:
                prepare("context_shapes", tmp_path)
            refused.append(error)
        return generate(seed, index)

    with monkeypatch.context() as patched:
        patched.setattr(context_shapes, "generate", generate_and_start_another)
        prepare("context_shapes", tmp_path)
    assert refused
    assert_whole(tmp_path)


# Changes between two starts ----------------------------------------------------------------------


@pytest.fixture
def plants(tmp_path, monkeypatch):
    """`plants(**changes)`: prepares images, 2, 2, 1 and 1, 2 in a shard; and their source."""
    monkeypatch.setattr(preparation, "SHARD_BYTES", 2650)  # of 1545 to 2595 each, and one of 3232
    source = make_own_images(tmp_path / "source", {"train": 5, "val": 3})

    def prepare_plants(**changes):
        options = {
            "images": {split: [f"{split}/*/*_rgb.jpg"] for split in ("train", "val")},
            "masks": {split: [f"{split}/*/*_label.png"] for split in ("train", "val")},
            "classes": source / "classes.csv",
        }
        return prepare_folder("plants", tmp_path / "data", source, **(options | changes))

    return prepare_plants, source


def interrupt(plants, source):
    """Ends a preparation at a mask of the last split; returns the path and what it should be."""
    path = source / "val" / "house" / "0_label.png"
    whole = path.read_bytes()
    path.write_bytes(whole[:60])
    with pytest.raises(InputError, match=r"0_label.png"):
        plants()
    return path, whole


def test_a_mended_file_is_all_that_is_made_again(plants, tmp_path, capfd):
    prepare_plants, source = plants
    path, whole = interrupt(prepare_plants, source)
    path.write_bytes(whole)
    prepare_plants()
    output = capfd.readouterr().err
    assert "train: 5 of 5 images are there" in output
    assert "val: 1 of 3 images are there" in output
    assert DATA_SETS.split_size("plants", tmp_path / "data", "val") == 3


def test_shards_of_files_that_have_changed_are_made_again(plants, tmp_path, capfd):
    prepare_plants, source = plants
    path, whole = interrupt(prepare_plants, source)
    path.write_bytes(whole)
    changed = source / "train" / "field" / "0_label.png"
    mask = np.zeros_like(cv2.imread(str(changed), cv2.IMREAD_UNCHANGED))
    cv2.imwrite(str(changed), mask)
    prepare_plants()
    assert "train: 3 of 5 images are there" in capfd.readouterr().err
    record = DATA_SETS.open_split("plants", tmp_path / "data", "train")[0]
    np.testing.assert_array_equal(decode(record)["label"], mask)


def test_with_another_number_of_files_those_before_the_first_change_stay(plants, tmp_path, capfd):
    prepare_plants, source = plants
    interrupt(prepare_plants, source)
    for kind in ("rgb.jpg", "label.png"):
        (source / "val" / "house" / f"0_{kind}").unlink()
        (source / "train" / "house" / f"0_{kind}").unlink()
    prepare_plants()
    output = capfd.readouterr().err
    assert "train: 2 of 4 images are there" in output
    for split, size in (("train", 4), ("val", 2)):
        records = list(DATA_SETS.open_split("plants", tmp_path / "data", split))
        assert len({record["name"] for record in records}) == len(records) == size
        assert len(DATA_SETS.image_sizes("plants", tmp_path / "data", split)) == size


def test_a_state_that_was_lost_with_the_power_is_named_and_made_again(plants, tmp_path, capfd):
    prepare_plants, source = plants
    path, whole = interrupt(prepare_plants, source)
    path.write_bytes(whole)
    (state,) = tmp_path.rglob("train-00000002.json")
    state.write_bytes(b"")
    prepare_plants()
    output = "".join(capfd.readouterr().err.split())
    assert "train-00000002.jsonisdamaged" in output
    assert "train:3of5imagesarethere" in output
    assert DATA_SETS.split_size("plants", tmp_path / "data", "train") == 5


def test_a_description_of_what_was_begun_that_is_damaged_is_one_error(plants, tmp_path):
    prepare_plants, source = plants
    interrupt(prepare_plants, source)
    (begun,) = tmp_path.rglob("begun.json")
    begun.write_text("{")
    with pytest.raises(InputError, match=r"begun.json is damaged .*delete .*unfinished-2.0.0"):
        prepare_plants()


def test_shards_are_full_with_so_many_bytes(monkeypatch, tmp_path):
    monkeypatch.setattr(context_shapes, "SPLIT_SIZES", {"train": 7})
    monkeypatch.setattr(preparation, "SHARD_BYTES", 100_000)
    folder = prepare("context_shapes", tmp_path, pixels="uncompressed")  # 32,883 bytes each
    described = json.loads((folder / "dataset_info.json").read_text())["splits"][0]
    assert described["shardLengths"] == ["4", "3"]


def test_other_settings_are_refused_and_what_is_there_stays(plants, tmp_path):
    prepare_plants, source = plants
    path, whole = interrupt(prepare_plants, source)
    shards = sorted(tmp_path.rglob("*.array_record"))
    assert len(shards) == 4
    with pytest.raises(InputError, match=r"begun with other pixels \(as_found, now uncomp.*delete"):
        prepare_plants(pixels="uncompressed")
    other = source / "other.csv"
    other.write_text("name\na\nb\nc\n")
    with pytest.raises(InputError, match=r"begun with other classes .*delete"):
        prepare_plants(classes=other)
    assert sorted(tmp_path.rglob("*.array_record")) == shards
    path.write_bytes(whole)
    prepare_plants()


# What is stored ----------------------------------------------------------------------------------


@pytest.mark.parametrize("pixels", ["as_found", "uncompressed"])
def test_tfds_alone_reads_a_prepared_set_and_decodes_it(tmp_path, pixels):
    source = make_ade20k(tmp_path / "source", {"train": 3, "val": 1})
    folder = prepare("ade20k", tmp_path / "data", source, pixels=pixels, subset=True)
    builder = tfds.builder_from_directory(folder)
    assert builder.info.name == "ade20k"
    assert {split: info.num_examples for split, info in builder.info.splits.items()} == {
        "train": 3,
        "val": 1,
    }
    for split in ("train", "val"):
        examples = builder.as_data_source(split)
        ours = DATA_SETS.open_split("ade20k", tmp_path / "data", split)
        for example, record in zip(examples, ours, strict=True):
            sample = decode(record)
            np.testing.assert_array_equal(example["image"], sample["image"])
            np.testing.assert_array_equal(example["label"][..., 0], sample["label"])


@pytest.mark.parametrize(
    "folder", ["w[a]z", "a*b?", "{a,b}", "back\\slash", "x@3", "é %s 00000-of-1"]
)
def test_folders_of_any_name_hold_a_whole_set_with_its_sizes(tmp_path, small_shards, folder):
    target = prepare("context_shapes", tmp_path / folder)
    assert_whole(tmp_path / folder)
    described = json.loads((target / "dataset_info.json").read_text())["splits"]
    for split in described:
        files = tmp_path.joinpath(folder).rglob(f"*-{split['name']}.array_record-*")
        assert int(split["numBytes"]) == sum(file.stat().st_size for file in files) > 0


def test_uncompressed_records_are_larger_and_decode_without_a_copy(tmp_path, small_shards):
    prepare("context_shapes", tmp_path, pixels="uncompressed")
    assert_whole(tmp_path)
    record = DATA_SETS.open_split("context_shapes", tmp_path, "train")[4]
    sample = decode(record)
    assert not sample["image"].flags.owndata
    assert not sample["label"].flags.owndata
    assert sum(len(record[key]) for key in ("image", "label")) - 64 * 128 * 4 < 50


def test_both_ways_to_store_pixels_give_the_same_batches(root, tmp_path, small_shards):
    batches = {}
    for pixels in ("as_found", "uncompressed"):
        prepare("context_shapes", tmp_path / pixels, pixels=pixels)
        config = load_config(root / "configs" / "context_shapes" / "gcnet.py").data
        config.update(
            data_dir=str(tmp_path / pixels),
            base_scale=(128, 64),
            scale_range=(0.5, 2.0),
            photometric_distortion=True,
        )
        training = labelled_batches(config, batch_size=4, seed=0)
        batches[pixels] = list(itertools.islice(training, 6))
        training.close()
    for batch, other in zip(*batches.values(), strict=True):
        for key in ("image", "label", "size"):
            np.testing.assert_array_equal(batch[key], other[key])


def test_a_split_of_many_shards_still_pickles_small(tmp_path, monkeypatch):
    monkeypatch.setattr(context_shapes, "SPLIT_SIZES", {"train": 316})
    monkeypatch.setattr(preparation, "SHARD_BYTES", 1)
    image, label = context_shapes.generate(0, 0)
    monkeypatch.setattr(context_shapes, "generate", lambda seed, index: (image, label))
    prepare("context_shapes", tmp_path)
    records = pickle.loads(
        pickled := pickle.dumps(DATA_SETS.open_split("context_shapes", tmp_path, "train"))
    )
    assert len(pickled) < 120_000
    assert records[315]["name"] == b"train_0315"
