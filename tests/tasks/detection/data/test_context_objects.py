"""Generated objects whose classes the scene decides, which is far from them."""

import numpy as np

from gcnet_jax.data.shapes_under_sky import HEIGHT, WIDTH, draw_shapes_under_sky
from gcnet_jax.tasks.detection.data import DATA_SETS, pixels_of, trainable
from gcnet_jax.tasks.detection.data.sources.context_objects import (
    SPLIT_SIZES,
    GeneratedExample,
    list_examples,
)

NAMES = DATA_SETS.meaning("context_objects").names


def test_boxes_masks_and_classes_are_those_of_the_shapes_that_were_drawn():
    for index in range(20):
        _, image, image_id, annotations = GeneratedExample("val", 1, index).load()
        drawn = draw_shapes_under_sky(1, index)
        np.testing.assert_array_equal(image, drawn.image)
        assert image_id == index
        assert annotations.masks is not None
        masks = pixels_of(annotations.masks, (HEIGHT, WIDTH))
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
        assert trainable(annotations, (HEIGHT, WIDTH)).all()


def test_both_scenes_are_about_as_frequent_and_each_kind_of_object_occurs():
    labels = [GeneratedExample("train", 0, i).load().annotations.classes for i in range(100)]
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
