"""What earlier versions have prepared or begun, with 64 examples a shard, is still good."""

import itertools
import os

import pytest
from etils import epath

from gcnet_jax import files
from gcnet_jax.data import prepare_official, prepare_own, unfinished
from gcnet_jax.errors import InputError
from tests.data import earlier_layout
from tests.data.numbered import (
    DATA_SETS,
    FLOCKS,
    NumberedFile,
    NumberedImages,
    find_examples,
    write_flocks,
)

SHEEP = NumberedImages()
SIZES = {"train": 150, "val": 70}


def accept(counts, console):
    del counts, console


@pytest.fixture
def source(tmp_path):
    return epath.Path(write_flocks(tmp_path / "source", SIZES))


@pytest.fixture
def loaded(monkeypatch):
    """The names of the examples that have been loaded."""
    names, load = [], NumberedFile.load
    monkeypatch.setattr(NumberedFile, "load", lambda self: (names.append(self.name), load(self))[1])
    return names


def prepare(tmp_path, source, splits=("train", "val")):
    examples = find_examples([source], splits)
    return prepare_own("flocks", tmp_path, "Sheep.", SHEEP, examples, accept, options="--unit")


def numbers(data_dir, split):
    return [record["number"] for record in DATA_SETS.open_split("flocks", data_dir, split)]


def ordered(source, split):
    """The numbers of a split in the order of its files' names."""
    return [int(path.read_text()) for path in sorted((source / split).iterdir())]


def test_a_set_that_an_earlier_version_prepared_is_read_and_known(tmp_path, source, loaded):
    folder = tmp_path / "flocks" / "2.0.0"
    earlier_layout.finish(folder, "flocks", SHEEP, find_examples([source], SIZES))
    loaded.clear()
    assert prepare(tmp_path, source) == epath.Path(folder)
    assert not loaded
    for split in SIZES:
        assert numbers(tmp_path, split) == ordered(source, split)
    (source / "val" / "val_9.txt").write_text("900")
    os.utime(source / "val" / "val_9.txt", (1, 1))
    with pytest.raises(InputError, match="prepared from other files"):
        prepare(tmp_path, source)


def test_splits_are_added_to_a_set_that_an_earlier_version_prepared(tmp_path, source, loaded):
    folder = tmp_path / "flocks" / "2.0.0"
    earlier_layout.finish(folder, "flocks", SHEEP, find_examples([source], ["val"]))
    loaded.clear()
    prepare_official(FLOCKS, tmp_path, source, SHEEP, accept, splits=None, subset=True)
    assert len(loaded) == SIZES["train"]
    for split in SIZES:
        assert numbers(tmp_path, split) == ordered(source, split)


def begin_earlier(tmp_path, source):
    """Whole shards with a gap, one that was under way, and a split of which nothing is there."""
    folder = tmp_path / "flocks" / "unfinished-2.0.0"
    examples = find_examples([source], SIZES)
    earlier_layout.begin(folder, "flocks", SHEEP, examples, {"train": [0, 2], "val": []})
    (folder / "flocks-train.array_record-00001-of-00003.partial").write_bytes(b"part")
    return folder


def test_what_an_earlier_version_began_goes_on_behind_its_whole_shards(tmp_path, source, loaded):
    folder = begin_earlier(tmp_path, source)
    loaded.clear()
    target = prepare(tmp_path, source)
    names = [example.name for example in find_examples([source], ["train"])["train"]]
    assert sorted(loaded) == sorted([*names[64:128], *(f"val_{i}" for i in range(70))])
    assert not folder.exists()
    assert len(list(target.glob("flocks-train*-of-00003"))) == 3
    for split in SIZES:
        assert numbers(tmp_path, split) == ordered(source, split)


@pytest.mark.parametrize(
    ("owner", "name", "calls_before"),
    [
        *((unfinished, "write_whole", calls) for calls in range(3)),
        *((files.LiteralPath, "rename", calls) for calls in range(2)),
        *((files.LiteralPath, "unlink", calls) for calls in range(2)),
    ],
)
def test_interrupted_while_it_takes_over_what_an_earlier_version_began(
    tmp_path, source, loaded, monkeypatch, owner, name, calls_before
):
    begin_earlier(tmp_path, source)
    loaded.clear()
    function, calls = getattr(owner, name), itertools.count()

    def die(*args, **kwargs):
        if next(calls) == calls_before:
            raise KeyboardInterrupt
        return function(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, die)
        with pytest.raises(KeyboardInterrupt):
            prepare(tmp_path, source)
    assert not loaded
    prepare(tmp_path, source)
    assert len(loaded) == 64 + 70
    assert numbers(tmp_path, "train") == ordered(source, "train")
