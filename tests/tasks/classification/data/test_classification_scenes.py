"""Generated images whose class only the context decides."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gcnet_jax.tasks.classification.data import (
    dataset_classes,
    decode,
    open_split,
    prepare,
    split_class_counts,
)
from gcnet_jax.tasks.classification.data.sources.context_scenes import (
    CUE_DISTANCE,
    CUE_ZONE,
    SIZE,
    generate,
)

any_image = given(seed=st.integers(0, 2**16), index=st.integers(0, 2**16))


def saturated(image):
    """Where an image has one of the colours that classes have."""
    pixels = image.astype(int)
    return pixels.max(-1) - pixels.min(-1) > 85


@any_image
@settings(max_examples=60)
def test_the_scene_changes_the_sky_alone_and_the_class(seed, index):
    (day, of_day), (night, of_night) = (generate(seed, index, scene) for scene in ("day", "night"))
    changed = np.flatnonzero((day != night).any((0, 2)))
    assert 0 < len(changed) <= CUE_ZONE
    assert changed.max() < CUE_ZONE or changed.min() >= SIZE - CUE_ZONE
    assert of_day != of_night


@any_image
@settings(max_examples=60)
def test_the_colours_of_classes_are_out_of_reach_of_the_sky(seed, index):
    day, night = (generate(seed, index, scene)[0] for scene in ("day", "night"))
    sky = np.flatnonzero((day != night).any((0, 2)))
    shapes = np.flatnonzero((saturated(day) & saturated(night)).any(0))
    shapes = shapes[~np.isin(shapes, sky)]
    assert len(shapes)
    assert np.abs(sky[:, None] - shapes).min() >= CUE_DISTANCE


@any_image
@settings(max_examples=60)
def test_the_larger_shape_has_the_colour_of_the_day_and_the_smaller_that_of_the_night(seed, index):
    image, of_day = generate(seed, index, "day")
    night, of_night = generate(seed, index, "night")
    pixels = image[saturated(image) & (image == night).all(-1)].astype(int)
    red, green, blue = pixels.T
    # Which of the four colours each has, by what it has most and least of.
    area = np.array(
        [
            ((red > green + 60) & (red > blue + 60)).sum(),
            ((red > blue + 60) & (green > blue + 60) & (abs(red - green) <= 60)).sum(),
            ((green > red + 60) & (green > blue + 60)).sum(),
            ((blue > green + 60) & (red > green)).sum(),
        ]
    )
    assert area.argmax() == of_day
    assert area[of_day] > area[of_night] > 0


def test_the_splits_are_prepared_in_seconds_and_hold_all_classes_alike(tmp_path):
    prepare("context_scenes", tmp_path, splits=["val", "test"])
    first = {}
    for split in ("val", "test"):
        records = open_split("context_scenes", tmp_path, split)
        assert len(records) == 400
        images = split_class_counts("context_scenes", tmp_path, split).images
        assert all(images[index] > 70 for index in range(4))
        sample = decode(records[0])
        assert sample["image"].shape == (SIZE, SIZE, 3) == (64, 64, 3)
        first[split] = sample["image"]
    assert (first["val"] != first["test"]).any()
    assert dataset_classes("context_scenes").names == ("red", "yellow", "green", "violet")
    assert (tmp_path / "context_scenes" / "2.0.0" / "samples.png").exists()
