import numpy as np
import pytest

from gcnet_jax.errors import InputError
from gcnet_jax.tasks.segmentation.config import default_config
from gcnet_jax.tasks.segmentation.data import (
    DATA_SETS,
    decode,
    evaluation_batches,
    images_in_part,
    scaled_sizes,
)
from tests import plain


def config(data_dir, batch_size=2, base_scale=(20, 12), **evaluation):
    """Of the small CamVid-like data set, whose test split alternates between 12x16 and 10x20."""
    config = default_config()
    config.data.name, config.data.data_dir = "camvid", str(data_dir)
    config.data.base_scale = base_scale
    config.evaluation.batch_size = batch_size
    config.evaluation.update(evaluation)
    return config


def indices(batch):
    """Which images these are, by the class in their labels; -1 for entries that fill up."""
    found = np.where(batch["label_size"][:, 0] > 0, batch["label"][:, 0, 0].astype(int), -1)
    assert found.tolist() == batch["index"].tolist()
    return found.tolist()


def test_images_of_one_size_share_batches_in_their_order(camvid_dir):
    batches = list(evaluation_batches(config(camvid_dir), "test"))
    assert [indices(batch) for batch in batches] == [[1, 3], [5, -1], [0, 2], [4, -1]]
    assert [batch["label"].shape[1:] for batch in batches] == [(10, 20)] * 2 + [(12, 16)] * 2
    (batch,) = evaluation_batches(config(camvid_dir, batch_size=4), "val")
    assert indices(batch) == [0, 1, 2, 3]


def test_one_bucket_holds_images_of_all_sizes(camvid_dir):
    batches = list(evaluation_batches(config(camvid_dir, batch_size=4, max_buckets=1), "test"))
    assert [indices(batch) for batch in batches] == [[0, 1, 2, 3], [4, 5, -1, -1]]
    assert {batch["label"].shape[1:] for batch in batches} == {(12, 20)}


@pytest.mark.parametrize("multi_scale", [False, True])
def test_images_come_scaled_and_labels_as_stored_with_padding_around_them(camvid_dir, multi_scale):
    run = config(camvid_dir, base_scale=(31, 18), max_buckets=1, scales=(0.5, 1.0, 1.7))
    records = DATA_SETS.open_split("camvid", camvid_dir, "test")
    bounds = [(0.5, 0.5), (1.0, 1.0), (1.7, 1.7)] if multi_scale else [None]
    for batch in evaluation_batches(run, "test", multi_scale=multi_scale):
        assert len(batch["scaled"]) == len(bounds)
        for entry, index in enumerate(indices(batch)):
            assert index >= 0
            sample = decode(records[index])
            height, width = sample["label"].shape
            assert batch["label_size"][entry].tolist() == [height, width]
            label = batch["label"][entry]
            np.testing.assert_array_equal(label[:height, :width], sample["label"])
            assert (label[height:] == 255).all()
            assert (label[:, width:] == 255).all()
            for scaled, ratio in zip(batch["scaled"], bounds, strict=True):
                fitting = (31, 18)
                if ratio:
                    fitting = (int(width * ratio[0] + 0.5), int(height * ratio[1] + 0.5))
                expected = plain.fit(sample["image"], fitting)
                image, (tall, wide) = scaled["image"][entry], scaled["size"][entry]
                assert expected.shape[:2] == (tall, wide)
                np.testing.assert_array_equal(image[:tall, :wide], expected)
                assert not image[tall:].any()
                assert not image[:, wide:].any()


def test_entries_that_fill_a_batch_up_have_no_size_and_are_ignored(camvid_dir):
    (batch,) = evaluation_batches(config(camvid_dir, batch_size=6), "val")
    assert indices(batch) == [0, 1, 2, 3, -1, -1]
    assert (batch["label"][4:] == 255).all()
    assert (batch["scaled"][0]["size"][4:] == 0).all()


@pytest.mark.parametrize("batch_size", [2, 4])
@pytest.mark.parametrize("max_buckets", [1, 4])
def test_processes_share_each_batch_in_equal_shapes(camvid_dir, batch_size, max_buckets):
    run = config(camvid_dir, batch_size, max_buckets=max_buckets)
    alone = list(evaluation_batches(run, "test"))
    first, second = (
        list(evaluation_batches(run, "test", shard_index=index, shard_count=2))
        for index in range(2)
    )
    for whole, *parts in zip(alone, first, second, strict=True):
        assert {part["label"].shape for part in parts} == {
            (batch_size // 2, *whole["label"].shape[1:])
        }
        assert sorted(indices(parts[0]) + indices(parts[1])) == sorted(indices(whole))
    for index, part in enumerate((first, second)):
        held = sorted(i for batch in part for i in indices(batch) if i >= 0)
        assert images_in_part(run, "test", shard_index=index, shard_count=2) == held


def test_a_batch_that_the_processes_cannot_share_is_refused_at_once(camvid_dir):
    with pytest.raises(InputError, match="batch size 3 does not divide by the 2 processes"):
        evaluation_batches(config(camvid_dir, batch_size=3), "test", shard_count=2)


def test_data_that_is_not_there_is_named_at_once(tmp_path):
    with pytest.raises(InputError, match="not prepared"):
        evaluation_batches(config(tmp_path), "test")


def test_sizes_are_never_zero():
    run = default_config()
    run.data.base_scale, run.evaluation.scales = (2, 2), (0.01, 1.0)
    assert scaled_sizes((1, 30), run, multi_scale=False) == [(1, 2)]
    assert scaled_sizes((1, 30), run, multi_scale=True) == [(1, 1), (1, 30)]
