import random

import pytest

from gcnet_jax.errors import InputError
from gcnet_jax.tasks.segmentation.data import DATA_SETS
from tests.faults.injection import Records, damage_file, saves_under_way


@pytest.fixture
def checkpoint(tmp_path):
    for name, content in (("a", b"12345"), ("folder/b", b"67890"), ("empty", b"")):
        path = tmp_path / "checkpoint" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "checkpoint"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", ["file truncated", "bit flipped", "file deleted"])
def test_damage_changes_one_file_in_the_way_its_kind_says(checkpoint, kind, seed):
    before = contents(checkpoint)
    assert damage_file(checkpoint, kind, random.Random(seed))
    after = contents(checkpoint)
    (name,) = {name for name in before if before[name] != after.get(name)}
    old, new = before[name], after.get(name)
    if kind == "file deleted":
        assert new is None
    elif kind == "file truncated":
        assert len(new) < len(old)
        assert old.startswith(new)
    else:
        flipped = int.from_bytes(old) ^ int.from_bytes(new)
        assert len(new) == len(old)
        assert flipped.bit_count() == 1


def test_a_save_under_way_is_seen_and_a_finished_one_is_not(tmp_path):
    assert saves_under_way(tmp_path) == set()
    for name in ("5", "10.orbax-checkpoint-tmp"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert saves_under_way(tmp_path) == {"10.orbax-checkpoint-tmp"}


def test_corrupt_records_are_found_and_mended_ones_are_as_before(shapes_dir, tmp_path):
    records = Records(shapes_dir, tmp_path / "copy")

    def read():
        return [
            bytes(record["image"])
            for record in DATA_SETS.open_split("context_shapes", tmp_path / "copy", "train")
        ]

    whole = read()
    records.corrupt(random.Random(0))
    with pytest.raises(InputError, match="cannot be read"):
        read()
    records.mend()
    assert read() == whole
