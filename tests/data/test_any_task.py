"""Storing, finding and reading the records of a task that this package has never heard of."""

import itertools
import json

import numpy as np
import pytest
from etils import epath

from gcnet_jax.data import (
    decode_rgb,
    evaluation_order,
    ordered_batches,
    preparation,
    prepare_official,
    prepare_own,
    shuffled_batches,
)
from gcnet_jax.errors import InputError
from tests.data.numbered import (
    DATA_SETS,
    FLOCKS,
    SPLITS,
    NumberedImages,
    Numbers,
    find_examples,
    write_flocks,
)

SHEEP = NumberedImages()


def accept(counts, console):
    del counts, console


@pytest.fixture
def flocks(tmp_path, monkeypatch):
    """`flocks(**options)`: prepares them, three examples in a shard, and returns the folder."""
    monkeypatch.setattr(preparation, "SHARD_BYTES", 400)  # of 138 to 164 each
    source = write_flocks(tmp_path / "source")

    def prepare(record_format=SHEEP, check=accept, splits=None, subset=False):
        return prepare_official(
            FLOCKS, tmp_path, source, record_format, check, splits=splits, subset=subset
        )

    return prepare


def test_records_come_back_in_order_with_their_counts(flocks, tmp_path):
    folder = flocks()
    for split, size in SPLITS.items():
        records = DATA_SETS.open_split("flocks", tmp_path, split)
        assert [record["number"] for record in records] == list(range(size))
        assert [record["name"].decode() for record in records] == [
            f"{split}_{i}" for i in range(size)
        ]
        assert decode_rgb(records[2]["image"], "it").shape == (3, 8, 3)
        sizes = DATA_SETS.image_sizes("flocks", tmp_path, split)
        assert sizes.tolist() == [[i + 1, 8] for i in range(size)]
        counts = DATA_SETS.contents("flocks", tmp_path).counts(split)
        assert counts == Numbers(sum(range(size)))
    assert json.loads((folder / "contents.json").read_text())["in all"]["val"] == "6 sheep"
    assert json.loads((folder / "samples.png").read_text())[:2] == [
        "train: train_0",
        "train: train_2",
    ]


def test_splits_are_added_and_what_is_there_stays_as_it_is(flocks, tmp_path):
    flocks(splits=["val"])
    message = (
        r"split 'train' of data set 'flocks' is not prepared in .*, but val; prepare it with: "
        r"gcnet prepare_dataset flocks --source FOLDER .*--splits train"
    )
    with pytest.raises(InputError, match=message):
        DATA_SETS.open_split("flocks", tmp_path, "train")
    with pytest.raises(InputError, match=r"prepared with unit 'sheep', not 'goats'; delete"):
        flocks(NumberedImages("goats"), splits=["train"])
    flocks()
    assert len(DATA_SETS.open_split("flocks", tmp_path, "train")) == 7
    assert len(DATA_SETS.open_split("flocks", tmp_path, "val")) == 4


def test_what_the_task_cannot_learn_from_is_not_finished_and_not_lost(flocks, tmp_path, capfd):
    def refuse(counts, console):
        console.print(f"{counts['train'].total} is too few")
        raise InputError("count again")

    with pytest.raises(InputError, match="count again"):
        flocks(check=refuse)
    assert "21 is too few" in capfd.readouterr().err
    with pytest.raises(InputError, match=r"not prepared .*goes on with what has been begun"):
        DATA_SETS.open_split("flocks", tmp_path, "train")
    with pytest.raises(InputError, match=r"begun with other unit \(sheep, now goats\)"):
        flocks(NumberedImages("goats"))
    flocks()
    assert "train: 7 of 7 images are there" in capfd.readouterr().err


def test_a_set_of_another_task_is_named_and_not_read(flocks, tmp_path):
    folder = flocks()
    described = json.loads((folder / "features.json").read_text())
    del described["featuresDict"]["features"]["number"]
    (folder / "features.json").write_text(json.dumps(described))
    for read in (DATA_SETS.open_split, DATA_SETS.contents, DATA_SETS.image_sizes):
        with pytest.raises(InputError, match="describes other features than this library stores"):
            read("flocks", tmp_path, "val")


@pytest.mark.parametrize("harm", [{"unit": 7}, {"splits": {"val": {"0": {"counts": "many"}}}}])
def test_a_table_that_means_nothing_to_the_task_is_named(flocks, tmp_path, harm):
    table = flocks() / "contents.json"
    table.write_text(json.dumps(json.loads(table.read_text()) | harm))
    with pytest.raises(InputError, match=r"contents\.json is missing or damaged"):
        DATA_SETS.contents("flocks", tmp_path)


def test_a_users_own_set_is_prepared_once_and_from_the_same_files(tmp_path):
    source = epath.Path(write_flocks(tmp_path / "source"))

    def prepare():
        examples = find_examples([source], ["train", "val"])
        return prepare_own("mine", tmp_path, "Mine.", SHEEP, examples, accept, options="--unit")

    folder = prepare()
    assert prepare() == folder
    assert len(DATA_SETS.open_split("mine", tmp_path, "train")) == 7
    (source / "val" / "val_1.txt").unlink()
    with pytest.raises(InputError, match=r"prepared from other files .*otherwise \(--unit\); del"):
        prepare()
    (tmp_path / "yours").mkdir()
    with pytest.raises(InputError, match=r"'yours' is not prepared .*prepare_dataset numbers --n"):
        DATA_SETS.open_split("yours", tmp_path, "train")


def test_any_entries_make_training_batches_that_follow_from_the_seed(flocks, tmp_path):
    flocks()
    records = DATA_SETS.open_split("flocks", tmp_path, "train")

    class Noisy:
        sample_bytes = 32

        def __call__(self, record, rng):
            return {"number": record["number"], "noise": rng.random(3)}

    def batches(seed=0, **shard):
        iterator = shuffled_batches(
            records, Noisy(), batch_size=4, seed=seed, num_workers=0, **shard
        )
        return list(itertools.islice(iterator, 7))

    whole = batches()
    seen = np.concatenate([batch["number"] for batch in whole])
    for epoch in seen.reshape(4, 7):
        assert sorted(epoch.tolist()) == list(range(7))
    parts = [batches(shard_index=index, shard_count=2) for index in range(2)]
    for batch, *halves in zip(whole, *parts, strict=True):
        for key in ("number", "noise"):
            np.testing.assert_array_equal(np.concatenate([h[key] for h in halves]), batch[key])
    assert (batches(seed=1)[0]["noise"] != whole[0]["noise"]).any()


@pytest.mark.parametrize("shard_count", [1, 3])
def test_evaluation_reads_each_image_once_and_fills_the_last_batch_up(
    flocks, tmp_path, shard_count
):
    flocks()
    records = DATA_SETS.open_split("flocks", tmp_path, "train")
    sizes = DATA_SETS.image_sizes("flocks", tmp_path, "train")[:, None]
    order = evaluation_order(sizes, max_buckets=2, batch_size=3, height_multiple=4)

    def load(place):
        image = np.zeros((*place.shapes[0], 3), np.uint8)
        if place.index is not None:
            pixels = decode_rgb(records[place.index]["image"], "it")
            image[: pixels.shape[0], : pixels.shape[1]] = pixels
        return {"image": image, "index": -1 if place.index is None else place.index}

    parts = [
        list(ordered_batches(order, load, batch_size=3, shard_index=i, shard_count=shard_count))
        for i in range(shard_count)
    ]
    indices = [i for part in parts for batch in part for i in batch["index"].tolist()]
    assert sorted(i for i in indices if i >= 0) == list(range(7))
    assert indices.count(-1) == -7 % 3 + (0 if len(order) == 9 else 3)
    for same_step in zip(*parts, strict=True):
        assert len({batch["image"].shape for batch in same_step}) == 1
        assert same_step[0]["image"].shape[1] in (4, 8)
        for batch in same_step:
            assert (batch["image"][:, 0, 0, 0] == np.maximum(batch["index"], 0)).all()
    with pytest.raises(InputError, match="batch size 3 does not divide by the 2 processes"):
        ordered_batches(order, load, batch_size=3, shard_count=2)
