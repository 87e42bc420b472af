"""The input pipelines of detectors that are measured, and whether they do the same work."""

import importlib.util

import numpy as np
import pytest

from benchmarks.detection_input import STAGES, STORAGES, object_pipelines
from benchmarks.input import measure_input
from gcnet_jax.ops import normalize_images
from gcnet_jax.tasks.detection.config import default_config

PEER = importlib.util.find_spec("mmcv") is not None


def small():
    config = default_config()
    config.data.base_scale = (120, 96)
    return config


def test_every_pipeline_is_measured_by_stage():
    result = measure_input(small(), size=(48, 64), images=2, rounds=2, peer=PEER)
    names = ["gcnet_jax", "mmdetection's steps"] if PEER else ["gcnet_jax"]
    rows = {(row["pipeline"], row["storage"]): row for row in result["rows"]}
    assert list(rows) == [(name, storage) for name in names for storage in STORAGES]
    for row in rows.values():
        assert list(row["milliseconds_by_stage"]) == list(STAGES)
        assert all(x >= 0 for x in row["milliseconds_by_stage"].values())
        assert ("times_as_fast_as_mmdetection's_steps_on_jpeg" in row) == PEER


@pytest.mark.skipif(not PEER, reason="mmcv is not installed")
@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_mmdetections_steps_give_the_batches_that_ours_gives(tmp_path, flip):
    config = small()
    config.data.flip_probability = flip
    ours, _, theirs, _ = object_pipelines(config, tmp_path, (48, 64), 4, peer=True).pipelines
    for index in range(4):
        batch, (image, boxes, masks) = (way.make(index, seed=0) for way in (ours, theirs))
        (height, width), count = image.shape[2:], len(boxes)
        normalised = np.moveaxis(normalize_images(batch["image"], batch["size"]), -1, 1)
        np.testing.assert_allclose(normalised[..., :height, :width], image, atol=1e-5)
        np.testing.assert_allclose(batch["boxes"][0, :count], boxes, atol=1e-4)
        assert batch["valid"].sum() == count
        unpacked = np.unpackbits(batch["masks"][0, :count], axis=-1)
        np.testing.assert_array_equal(unpacked[:, :height, :width], masks)
