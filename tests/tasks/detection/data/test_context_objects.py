"""Generated objects whose classes the scene decides, which is far from them."""

import numpy as np

from gcnet_jax.data.shapes_under_sky import CUE_DISTANCE, WIDE_SKY, draw_shapes_under_sky
from gcnet_jax.tasks.detection.data import DATA_SETS, pixels_of, trainable
from gcnet_jax.tasks.detection.data.sources.context_objects import (
    SPLIT_SIZES,
    list_examples,
    load,
)

NAMES = DATA_SETS.meaning("context_objects").names


def test_boxes_masks_and_classes_are_those_of_the_shapes_that_were_drawn():
    for index in range(20):
        _, image, image_id, annotations = load(1, index)
        drawn = draw_shapes_under_sky(1, index, layout=WIDE_SKY)
        np.testing.assert_array_equal(image, drawn.image)
        assert image_id == index
        assert annotations.masks is not None
        masks = pixels_of(annotations.masks, WIDE_SKY.size)
        np.testing.assert_array_equal(masks, drawn.masks)
        for box, area, mask in zip(annotations.boxes, annotations.areas, masks, strict=True):
            x, y, width, height = box.astype(int)
            assert mask[y : y + height, x : x + width].sum() == mask.sum() == area
            inside = mask[y : y + height, x : x + width]
            assert inside[0].any()
            assert inside[-1].any()
            assert inside[:, 0].any()
            assert inside[:, -1].any()
        for label, kind in zip(annotations.classes, drawn.kinds, strict=True):
            assert NAMES[label] == (kind if kind == "triangle" else f"{drawn.scene} {kind}")
        assert trainable(annotations, WIDE_SKY.size).all()


def test_discs_and_squares_are_out_of_reach_of_the_sky_by_which_alone_scenes_differ():
    for index in range(20):
        day, night = (
            draw_shapes_under_sky(3, index, scene, WIDE_SKY) for scene in ("day", "night")
        )
        np.testing.assert_array_equal(day.image[~day.sky], night.image[~night.sky])
        far = [mask for mask, kind in zip(day.masks, day.kinds, strict=True) if kind != "triangle"]
        columns = np.flatnonzero(np.any(far, axis=(0, 1)))
        sky = np.flatnonzero(day.sky.any(axis=0))
        assert np.abs(sky[:, None] - columns).min() >= CUE_DISTANCE


def test_both_scenes_are_about_as_frequent_and_each_kind_of_object_occurs():
    labels = [load(0, i).annotations.classes for i in range(100)]
    counts = np.bincount(np.concatenate(labels), minlength=len(NAMES))
    assert counts.min() > 25
    assert 0.6 < counts[[0, 2]].sum() / counts[[1, 3]].sum() < 1.6


def test_each_split_has_images_of_its_own():
    examples = list_examples([], ["train", "test"])
    assert {split: len(of_split) for split, of_split in examples.items()} == {
        "train": SPLIT_SIZES["train"],
        "test": SPLIT_SIZES["test"],
    }
    first, second = (examples[split][0].load().image for split in ("train", "test"))
    assert (first != second).any()
