import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcnet_jax.data.shapes_under_sky import CUE_DISTANCE, NARROW_SKY
from gcnet_jax.tasks.segmentation.data import DATA_SETS
from gcnet_jax.tasks.segmentation.data.sources.context_shapes import SPLIT_SIZES, generate

NAMES = DATA_SETS.meaning("context_shapes").names
CLASS = {name: i for i, name in enumerate(NAMES)}
CONTEXT_CLASSES = [i for i, name in enumerate(NAMES) if name.startswith(("day", "night"))]

any_image = given(seed=st.integers(0, 2**16), index=st.integers(0, 2**16))


@any_image
@settings(max_examples=60, deadline=None)
def test_the_scene_changes_only_the_sky_picture_and_the_labels_of_discs_and_squares(seed, index):
    day_image, day_label = generate(seed, index, "day")
    night_image, night_label = generate(seed, index, "night")

    sky = day_label == CLASS["sky"]
    np.testing.assert_array_equal(sky, night_label == CLASS["sky"])
    np.testing.assert_array_equal(day_image[~sky], night_image[~sky])
    assert (day_image[sky] != night_image[sky]).any()

    swapped = day_label.copy()
    for kind in ("disc", "square"):
        swapped[day_label == CLASS[f"day {kind}"]] = CLASS[f"night {kind}"]
    np.testing.assert_array_equal(swapped, night_label)
    assert not np.isin(day_label, [CLASS["night disc"], CLASS["night square"]]).any()
    assert np.isin(day_label, CONTEXT_CLASSES).any()


@any_image
@settings(max_examples=100, deadline=None)
def test_discs_and_squares_are_out_of_reach_of_the_sky(seed, index):
    _, label = generate(seed, index)
    sky_columns = np.flatnonzero((label == CLASS["sky"]).any(axis=0))
    shape_columns = np.flatnonzero(np.isin(label, CONTEXT_CLASSES).any(axis=0))
    distances = np.abs(sky_columns[:, None] - shape_columns)
    assert distances.min() >= CUE_DISTANCE


@any_image
@settings(max_examples=30, deadline=None)
def test_without_a_given_scene_the_image_is_one_of_the_two_scenes(seed, index):
    image, label = generate(seed, index)
    assert image.shape == (64, 128, 3)
    assert label.shape == NARROW_SKY.size == (64, 128)
    assert image.dtype == label.dtype == np.uint8
    assert label.max() < len(NAMES)
    scene = "day" if np.isin(label, [CLASS["day disc"], CLASS["day square"]]).any() else "night"
    expected_image, expected_label = generate(seed, index, scene)
    np.testing.assert_array_equal(image, expected_image)
    np.testing.assert_array_equal(label, expected_label)


def test_scenes_and_sides_are_balanced_and_every_class_is_common():
    labels = np.stack([generate(0, index)[1] for index in range(200)])
    at_left = (labels[:, :, : NARROW_SKY.size[1] // 2] == CLASS["sky"]).any(axis=(1, 2))
    by_day = np.isin(labels, [CLASS["day disc"], CLASS["day square"]]).any(axis=(1, 2))
    # Four standard deviations of 200 fair coins are 28; the draws are fixed anyway.
    assert abs(at_left.sum() - 100) < 28
    assert abs(by_day.sum() - 100) < 28
    assert abs((at_left == by_day).sum() - 100) < 28  # and the side says nothing of the scene
    for name, index in CLASS.items():
        assert (labels == index).mean() > 0.005, name


def test_splits_have_no_image_in_common():
    first_images = {generate(seed, 0)[0].tobytes() for seed in range(len(SPLIT_SIZES))}
    assert len(first_images) == len(SPLIT_SIZES)


@pytest.mark.parametrize("scene", ["day", "night"])
def test_shapes_do_not_touch_each_other_or_the_sky(scene):
    for index in range(40):
        _, label = generate(1, index, scene)
        for neighbour, here in (
            (label[1:], label[:-1]),
            (label[:, 1:], label[:, :-1]),
        ):
            touching = (neighbour != here) & (neighbour > 0) & (here > 0)
            assert not touching.any()
