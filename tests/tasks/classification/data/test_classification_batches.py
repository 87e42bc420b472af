"""Training and evaluation batches of classified images."""

import itertools

import numpy as np
import pytest
from ml_collections import ConfigDict

from gcnet_jax.errors import InputError
from gcnet_jax.tasks.classification.data import (
    DATA_SETS,
    decode,
    evaluation_batches,
    evaluation_crop,
    images_in_part,
)
from tests.training_batches import classified_batches

TRAIN, VAL = 7, 6


@pytest.fixture
def config(dots_dir):
    """`config(**changes)`: all transforms on; `changes` are keys of `data`."""

    def make(batch_size=4, **changes):
        data = {
            "name": "dots",
            "data_dir": str(dots_dir),
            "train_split": "train",
            "resize_size": 10,
            "crop_size": 8,
            "scale_range": (0.08, 1.0),
            "ratio_range": (3 / 4, 4 / 3),
            "flip_probability": 0.5,
            "num_workers": 0,
        }
        return ConfigDict({"data": data | changes, "evaluation": {"batch_size": batch_size}})

    return make


def take(iterator, count):
    return [
        {key: np.array(value) for key, value in batch.items()}
        for batch in itertools.islice(iterator, count)
    ]


def assert_same(batches, expected):
    assert len(batches) == len(expected)
    for batch, other in zip(batches, expected, strict=True):
        assert batch.keys() == other.keys()
        for key in batch:
            np.testing.assert_array_equal(batch[key], other[key])


# Training -----------------------------------------------------------------------------------------


def test_each_epoch_has_every_image_once_with_its_class(config):
    batches = take(classified_batches(config().data, batch_size=7, seed=0), 3)
    for batch in batches:
        assert batch["image"].shape == (7, 8, 8, 3)
        assert batch["image"].dtype == np.uint8
        assert batch["label"].shape == (7,)
        assert batch["label"].dtype == np.int32
        numbers = batch["image"][:, 0, 0, 0] // 9
        assert sorted(numbers.tolist()) == list(range(TRAIN))
        np.testing.assert_array_equal(batch["label"], numbers % 3)
    assert (batches[0]["label"] != batches[1]["label"]).any()


@pytest.fixture
def scenes(config, tmp_path):
    """A config of images that show how they were transformed."""
    from gcnet_jax.tasks.classification.data import prepare

    prepare("context_scenes", tmp_path, splits=["val"])
    return config(name="context_scenes", data_dir=str(tmp_path), train_split="val", crop_size=24)


def test_batches_follow_from_the_seed_and_the_parts_of_hosts_make_up_the_whole(scenes):
    whole = take(classified_batches(scenes.data, batch_size=6, seed=3), 4)
    assert_same(take(classified_batches(scenes.data, batch_size=6, seed=3), 4), whole)
    parts = [
        take(classified_batches(scenes.data, batch_size=6, seed=3, shard_index=i, shard_count=3), 4)
        for i in range(3)
    ]
    joined = [
        {key: np.concatenate([part[key] for part in of_step]) for key in ("image", "label")}
        for of_step in zip(*parts, strict=True)
    ]
    assert_same(joined, whole)
    other = take(classified_batches(scenes.data, batch_size=6, seed=4), 1)
    assert (other[0]["image"] != whole[0]["image"]).any()


@pytest.mark.parametrize("num_workers", [0, 1])
def test_after_a_restart_the_batches_go_on_the_same(scenes, num_workers):
    expected = take(classified_batches(scenes.data, batch_size=4, seed=0), 5)
    first = classified_batches(scenes.data, batch_size=4, seed=0)
    take(first, 2)
    state = first.get_state()
    scenes.data.num_workers = num_workers
    second = classified_batches(scenes.data, batch_size=4, seed=0)
    second.set_state(state)
    assert_same(take(second, 3), expected[2:])
    second.close()


def test_with_nothing_to_draw_the_images_are_those_that_are_stored(scenes):
    scenes.data.update(
        scale_range=(1.0, 1.0), ratio_range=(1.0, 1.0), flip_probability=0.0, crop_size=64
    )
    records = DATA_SETS.open_split("context_scenes", scenes.data.data_dir, "val")
    stored = {decode(record)["image"].tobytes(): record["label"] for record in records}
    (batch,) = take(classified_batches(scenes.data, batch_size=8, seed=0), 1)
    for image, label in zip(batch["image"], batch["label"], strict=True):
        assert stored[image.tobytes()] == label
    scenes.data.flip_probability = 1.0
    (mirrored,) = take(classified_batches(scenes.data, batch_size=8, seed=0), 1)
    np.testing.assert_array_equal(mirrored["image"], batch["image"][:, :, ::-1])


def test_what_cannot_be_trained_on_is_refused_at_once(config):
    with pytest.raises(InputError, match="batch size 4 does not divide by the 3 processes"):
        classified_batches(config().data, batch_size=4, seed=0, shard_count=3)
    with pytest.raises(InputError, match="'dots' has no split 'test'; its splits are train, val"):
        classified_batches(config(train_split="test").data, batch_size=4, seed=0)
    remedy = "prepare it with: gcnet prepare_dataset class_folders --name zebra --source FOLDER"
    with pytest.raises(InputError, match=rf"'zebra' is not prepared in .*; {remedy}"):
        classified_batches(config(name="zebra").data, batch_size=4, seed=0)


# Evaluation ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shard_count", [1, 2, 4])
def test_evaluation_has_each_image_once_and_entries_that_count_nowhere(config, shard_count):
    parts = [
        take(evaluation_batches(config(), "val", shard_index=i, shard_count=shard_count), 9)
        for i in range(shard_count)
    ]
    seen = {}
    for index, part in enumerate(parts):
        assert len(part) == 2  # of four places each, for six images
        of_part = []
        for batch in part:
            assert batch["image"].shape == (4 // shard_count, 8, 8, 3)
            assert batch["image"].dtype == np.uint8
            assert batch["label"].dtype == batch["index"].dtype == np.int32
            filling = batch["index"] < 0
            assert (batch["label"][filling] == -1).all()
            assert (batch["image"][filling] == 0).all()
            entries = zip(batch["image"], batch["label"], batch["index"], strict=True)
            for image, label, i in entries:
                if i >= 0:
                    seen[int(i)] = image, int(label)
                    of_part.append(int(i))
        expected = images_in_part(config(), "val", shard_index=index, shard_count=shard_count)
        assert of_part == expected
    records = DATA_SETS.open_split("dots", config().data.data_dir, "val")
    assert sorted(seen) == list(range(VAL))
    for i, (image, label) in seen.items():
        sample = decode(records[i])
        assert label == sample["label"]
        np.testing.assert_array_equal(image, evaluation_crop(sample["image"], 10, 8))


def test_a_batch_that_does_not_divide_is_refused_before_the_first(config):
    with pytest.raises(InputError, match="batch size 4 does not divide by the 3 processes"):
        evaluation_batches(config(), "val", shard_count=3)
