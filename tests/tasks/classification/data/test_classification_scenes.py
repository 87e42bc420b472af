"""Generated images whose class only the context decides."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcnet_jax.data.scenes import Shape
from gcnet_jax.tasks.classification.data import DATA_SETS, decode, prepare
from gcnet_jax.tasks.classification.data.sources.context_scenes import (
    CUE_DISTANCE,
    CUE_ZONE,
    SIZE,
    generate,
)

any_image = given(seed=st.integers(0, 2**16), index=st.integers(0, 2**16))


def drawn(seed, index):
    """An image by day and by night, with where its shapes are; all with the sky at the left."""
    masks, mask = [], Shape.mask

    def noted(shape, size):
        masks.append(mask(shape, size))
        return masks[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Shape, "mask", noted)
        day, _ = generate(seed, index, "day")
    night, _ = generate(seed, index, "night")
    assert len(masks) == 2
    if (day != night).any((0, 2))[-1]:
        return day[:, ::-1], night[:, ::-1], masks
    return day, night, masks


@any_image
@settings(max_examples=40)
def test_the_scene_changes_the_sky_alone_and_the_class(seed, index):
    day, night, _ = drawn(seed, index)
    changed = np.flatnonzero((day != night).any((0, 2)))
    assert len(changed) > 0
    assert changed.max() < CUE_ZONE
    assert generate(seed, index, "day")[1] != generate(seed, index, "night")[1]
    image, label = generate(seed, index)
    either = [generate(seed, index, scene) for scene in ("day", "night")]
    assert (image.tobytes(), label) in [(pixels.tobytes(), index) for pixels, index in either]


@any_image
@settings(max_examples=40)
def test_the_shapes_are_out_of_reach_of_the_sky(seed, index):
    day, night, masks = drawn(seed, index)
    sky = np.flatnonzero((day != night).any((0, 2)))
    shapes = np.flatnonzero((masks[0] | masks[1]).any(0))
    assert shapes.min() - sky.max() >= CUE_DISTANCE
    assert not (masks[0] & masks[1]).any()


@any_image
@settings(max_examples=40)
def test_the_light_shape_has_the_colour_of_the_day_and_the_dark_one_that_of_the_night(seed, index):
    day, _, masks = drawn(seed, index)
    hues, _, values = np.moveaxis(cv2.cvtColor(day, cv2.COLOR_RGB2HSV).astype(int), -1, 0)
    dark, light = sorted(masks, key=lambda mask: values[mask].mean())
    assert values[light].mean() > values[dark].mean() + 40
    for scene, mask in (("day", light), ("night", dark)):
        found = np.median((hues[mask] + 20) % 180) - 20  # red lies on both sides of 0
        expected = np.argmin(np.abs(found - np.array([0, 30, 59, 144])))
        assert generate(seed, index, scene)[1] == expected


def test_the_splits_are_prepared_in_seconds_and_hold_all_classes_alike(tmp_path):
    prepare("context_scenes", tmp_path, splits=["val", "test"])
    first = {}
    for split in ("val", "test"):
        records = DATA_SETS.open_split("context_scenes", tmp_path, split)
        assert len(records) == 400
        images = DATA_SETS.counts("context_scenes", tmp_path, split).images
        assert all(images[index] > 70 for index in range(4))
        sample = decode(records[0])
        assert sample["image"].shape == (SIZE, SIZE, 3) == (64, 64, 3)
        first[split] = sample["image"]
    assert (first["val"] != first["test"]).any()
    assert DATA_SETS.meaning("context_scenes").names == ("red", "yellow", "green", "violet")
    assert (tmp_path / "context_scenes" / "2.0.0" / "samples.png").exists()
