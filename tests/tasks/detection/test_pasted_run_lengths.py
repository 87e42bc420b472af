"""Masks as run lengths, against pycocotools' own encoder of whole images."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_masks

from gcnet_jax.tasks.detection.regions.pasted_run_lengths import encode_part
from gcnet_jax.tasks.detection.regions.pasting_on_host import PastedPart, paste_on_host, paste_part


def encoded_whole(pixels):
    return coco_masks.encode(np.asfortranarray(pixels.astype(np.uint8)))["counts"]


@given(st.data())
@settings(max_examples=300)
def test_a_part_of_an_image_has_the_bytes_of_the_whole_image(data):
    height, width = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    top, left = data.draw(st.tuples(st.integers(0, height), st.integers(0, width)))
    rows = data.draw(st.integers(0, height - top))
    columns = data.draw(st.integers(0, width - left))
    share = data.draw(st.sampled_from([0, 0.2, 0.5, 0.9, 1]))
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    part = rng.uniform(size=(columns, rows)) < share
    whole = np.zeros((height, width), bool)
    whole[top : top + rows, left : left + columns] = part.T
    counts = encode_part(PastedPart(part, top, left), (height, width))
    assert counts == encoded_whole(whole)


@pytest.mark.parametrize(
    "box",
    [(3, 4, 40, 30), (-20, -9, 300, 200), (-50, 10, -5, 20), (10, 10, 10.5, 10.2), (7, 7, 7, 9)],
    ids=["inside", "around", "outside", "tiny", "empty"],
)
def test_pasted_masks_have_the_bytes_of_the_whole_image(box):
    size, box = (60, 90), np.array(box, np.float32)
    for threshold in (0.01, 0.5):
        probabilities = np.random.default_rng(0).uniform(0, 1, (28, 28)).astype(np.float32)
        counts = encode_part(paste_part(probabilities, box, size, threshold=threshold), size)
        assert counts == encoded_whole(paste_on_host(probabilities, box, size, threshold=threshold))


def test_boxes_of_no_size_that_could_be_told_have_no_pixels():
    ones = np.ones((28, 28), np.float32)
    for box in ([0, 0, np.nan, 9], [0, 0, 9, np.inf], [9, 9, 3, 3], [5, 5, 5 + 1e-6, 5 + 1e-6]):
        pixels = paste_on_host(ones, np.array(box, np.float32), (20, 20))
        assert not pixels.any()


def test_boxes_larger_than_numbers_can_be_have_pixels_without_a_warning(recwarn):
    ones, size = np.ones((28, 28), np.float32), (20, 20)
    assert paste_on_host(ones, np.array([-1e30, -1e30, 1e30, 1e30], np.float32), size).all()
    paste_on_host(ones, np.array([-3e38, 0, 3e38, 5], np.float32), size)
    assert not list(recwarn)
