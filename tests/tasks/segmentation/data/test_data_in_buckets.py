"""Prepared data sets that lie in a bucket, and what cannot be done there."""

import numpy as np
import pytest
from etils import epath

from gcnet_jax.errors import InputError
from gcnet_jax.tasks.segmentation.config import default_config
from gcnet_jax.tasks.segmentation.data import (
    DATA_SETS,
    decode,
    evaluation_batches,
    prepare,
    prepare_folder,
)
from tests.cloud_storage import upload
from tests.training_batches import labelled_batches


@pytest.fixture
def data_dir(bucket, camvid_dir):
    upload(camvid_dir, bucket / "data")
    return bucket / "data"


def config_of(data_dir, num_workers=0):
    config = default_config()
    with config.unlocked():
        config.data.update(name="camvid", data_dir=str(data_dir), num_workers=num_workers)
        config.data.update(base_scale=(16, 12), crop_size=(8, 8))
        config.evaluation.batch_size = 2
    return config


def test_records_are_those_of_the_local_data_set(data_dir, camvid_dir):
    assert DATA_SETS.split_names("camvid", str(data_dir)) == DATA_SETS.split_names(
        "camvid", camvid_dir
    )
    sizes = DATA_SETS.image_sizes("camvid", data_dir, "test")
    np.testing.assert_array_equal(sizes, DATA_SETS.image_sizes("camvid", camvid_dir, "test"))
    ours, theirs = (
        DATA_SETS.open_split("camvid", where, "train") for where in (data_dir, camvid_dir)
    )
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a["name"] == b["name"]
        np.testing.assert_array_equal(decode(a)["image"], decode(b)["image"])


@pytest.mark.parametrize("num_workers", [0, 1])
def test_training_batches_are_those_of_the_local_data_set(data_dir, camvid_dir, num_workers):
    ours, theirs = (
        labelled_batches(config_of(where, num_workers).data, batch_size=4, seed=1)
        for where in (data_dir, camvid_dir)
    )
    try:
        for _ in range(3):
            np.testing.assert_array_equal(next(ours)["image"], next(theirs)["image"])
    finally:
        ours.close()
        theirs.close()


def test_evaluation_batches_are_those_of_the_local_data_set(data_dir, camvid_dir):
    ours, theirs = (
        list(evaluation_batches(config_of(where), "test")) for where in (data_dir, camvid_dir)
    )
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a["scaled"][0]["image"], b["scaled"][0]["image"])
        np.testing.assert_array_equal(a["label"], b["label"])


def test_each_record_is_one_request(data_dir, storage):
    records = DATA_SETS.open_split("camvid", data_dir, "train")
    assert records[0] is not None  # which opens the file
    storage.requests.clear()
    assert [records[i]["name"] for i in (5, 2, 3)] == [b"frame_005", b"frame_002", b"frame_003"]
    assert len(storage.requests) == 3


def test_a_damaged_record_is_named_with_what_helps_in_a_bucket(data_dir, storage):
    (shard,) = [
        path for path in storage.contents if str(data_dir)[5:] in path and "-train." in path
    ]
    content = bytearray(storage.contents[shard])
    content[len(content) // 2] ^= 255
    storage.put(shard, bytes(content))
    with pytest.raises(InputError, match=r"cannot be read .* copy 'camvid' there again"):
        list(DATA_SETS.open_split("camvid", data_dir, "train"))


def test_a_shard_that_was_not_copied_is_named(bucket, camvid_dir, storage):
    upload(camvid_dir, bucket / "data")
    (shard,) = [path for path in storage.contents if bucket.name in path and "-val." in path]
    storage.delete(shard)
    with pytest.raises(InputError, match=r"gs://.*-val\..* is missing; .* copy 'camvid' there"):
        DATA_SETS.open_split("camvid", bucket / "data", "val")


def test_a_data_set_that_is_not_in_the_bucket_is_prepared_elsewhere_and_copied(bucket):
    with pytest.raises(InputError, match=rf"gcloud storage cp -r data/camvid/\S+ {bucket}/camvid/"):
        DATA_SETS.open_split("camvid", bucket, "train")


def test_preparing_in_or_from_a_bucket_is_refused(bucket, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    in_bucket = r"is in a bucket; expected a local folder: "
    with pytest.raises(InputError, match=in_bucket + "prepare it in a local folder"):
        prepare("context_shapes", str(bucket))
    with pytest.raises(InputError, match=in_bucket + "copy it first"):
        prepare("camvid", "data", f"{bucket}/CamVid")
    patterns = {"train": ["*.png"]}
    with pytest.raises(InputError, match=in_bucket + "copy it first"):
        prepare_folder(
            "own", "data", bucket, images=patterns, masks=patterns, classes="classes.csv"
        )
    with pytest.raises(InputError, match="neither a local path nor gs://"):
        prepare("context_shapes", "s3://bucket/data")
    assert not list(epath.Path(tmp_path).iterdir())
