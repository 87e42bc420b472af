"""Segmentations of COCO's format as run lengths, beside pycocotools."""

import numpy as np
import pycocotools.mask
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from gcnet_jax.tasks.detection.data import counts_of, pixels_of
from gcnet_jax.tasks.detection.data.sources.segmentations import counts_of_segmentation

sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))
coordinates = st.floats(-30, 70, width=32) | st.integers(-5, 45)
polygons = st.lists(
    st.integers(3, 8).flatmap(lambda n: st.lists(coordinates, min_size=2 * n, max_size=2 * n)),
    min_size=1,
    max_size=4,
)


def by_pycocotools(segmentation, size):
    coco = COCO()
    coco.imgs = {1: {"height": size[0], "width": size[1]}}
    return coco.annToMask({"image_id": 1, "segmentation": segmentation})


@given(polygons, sizes)
@settings(max_examples=100, deadline=None)
def test_polygons_are_filled_and_joined_as_pycocotools_does(segmentation, size):
    counts = counts_of_segmentation(segmentation, size)
    np.testing.assert_array_equal(pixels_of([counts], size)[0], by_pycocotools(segmentation, size))


@given(sizes, st.integers(0, 2**32 - 1), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_run_lengths_of_both_kinds_are_the_pixels_they_were_made_of(size, seed, share):
    pixels = np.random.default_rng(seed).random(size) < share
    compressed = counts_of(pixels)
    assert (
        counts_of_segmentation({"size": [*size], "counts": compressed.decode()}, size) == compressed
    )
    flat = np.concatenate([[False], pixels.reshape(-1, order="F")])
    ends = np.flatnonzero(np.diff(flat))
    lengths = np.diff(np.concatenate([[0], ends, [pixels.size]])).tolist()
    found = counts_of_segmentation({"size": [*size], "counts": lengths}, size)
    np.testing.assert_array_equal(pixels_of([found], size)[0], pixels)


@given(sizes, st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=12))
@settings(max_examples=200, deadline=None)
def test_whatever_text_is_taken_for_run_lengths_covers_the_image(size, text):
    found = counts_of_segmentation({"size": [*size], "counts": text}, size)
    if isinstance(found, bytes):
        # pycocotools refuses what does not add up, at the latest where it is decoded.
        pixels = pycocotools.mask.decode({"size": [*size], "counts": found})
        assert pixels.max(initial=0) <= 1
        assert pixels.sum() == pycocotools.mask.area({"size": [*size], "counts": found})
    else:
        assert found.startswith("has counts that")


@pytest.mark.parametrize("size", [(3000, 4000), (1, 200_000)])
def test_long_run_lengths_are_read_as_well(size):
    pixels = np.zeros(size, np.uint8)
    pixels.reshape(-1)[[5, 100_000, -1]] = 1
    compressed = counts_of(pixels)
    segmentation = {"size": [*size], "counts": compressed.decode()}
    assert counts_of_segmentation(segmentation, size) == compressed
