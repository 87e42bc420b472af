"""The transforms of ImageNet beside the formulas of torchvision."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from gcnet_jax.tasks.classification.data import evaluation_crop
from gcnet_jax.tasks.classification.data.transforms import (
    CropBox,
    centre_box,
    draw_crop,
    mirrored,
    resized,
    short_edge_size,
)

SCALE, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)

lengths = st.integers(1, 700)
sizes = st.tuples(lengths, lengths)
seeds = st.integers(0, 2**32 - 1)


def any_image(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


# Random crops -------------------------------------------------------------------------------------


def box_by_the_reference(rng, size, scale, ratio):
    """`RandomResizedCrop.get_params` of torchvision, with its numbers from another generator."""
    height, width = size
    for _ in range(10):
        target_area = height * width * rng.uniform(scale[0], scale[1])
        aspect_ratio = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w = round(math.sqrt(target_area * aspect_ratio))
        h = round(math.sqrt(target_area / aspect_ratio))
        if 0 < w <= width and 0 < h <= height:
            i = int(rng.integers(0, height - h + 1))
            j = int(rng.integers(0, width - w + 1))
            return i, j, h, w
    in_ratio = float(width) / float(height)
    if in_ratio < min(ratio):
        w = width
        h = round(w / min(ratio))
    elif in_ratio > max(ratio):
        h = height
        w = round(h * max(ratio))
    else:
        w, h = width, height
    return (height - h) // 2, (width - w) // 2, h, w


@given(
    size=sizes,
    scale=st.sampled_from([SCALE, (1.0, 1.0), (0.5, 0.6)]),
    ratio=st.sampled_from([RATIO, (1.0, 1.0), (0.2, 0.3)]),
    seed=seeds,
)
@settings(max_examples=400)
def test_crops_are_drawn_as_by_the_reference_and_lie_within_the_image(size, scale, ratio, seed):
    box = draw_crop(np.random.default_rng(seed), size, scale, ratio)
    expected = box_by_the_reference(np.random.default_rng(seed), size, scale, ratio)
    assume(0 not in expected[2:])  # of an image of a pixel or so the reference takes nothing
    assert (box.top, box.left, box.height, box.width) == expected
    assert 0 <= box.top <= box.top + box.height <= size[0]
    assert 0 <= box.left <= box.left + box.width <= size[1]
    assert box.height >= 1
    assert box.width >= 1


def test_of_an_image_of_one_pixel_that_is_taken():
    box = draw_crop(np.random.default_rng(0), (1, 1), SCALE, (0.2, 0.3))
    assert box == CropBox(0, 0, 1, 1)


def test_where_no_drawn_crop_fits_the_middle_is_taken_in_the_nearest_aspect():
    rng = np.random.default_rng(0)
    assert draw_crop(rng, (10, 1000), (0.9, 1.0), RATIO) == CropBox(0, 493, 10, 13)
    assert draw_crop(rng, (1000, 9), (0.9, 1.0), RATIO) == CropBox(494, 0, 12, 9)
    assert draw_crop(rng, (64, 64), (1.0, 1.0), (1.0, 1.0)) == CropBox(0, 0, 64, 64)


def test_shares_and_aspects_of_crops_are_spread_as_they_should_be():
    rng = np.random.default_rng(1)
    boxes = [draw_crop(rng, (500, 500), (0.08, 0.5), RATIO) for _ in range(4000)]
    shares = np.sort([box.height * box.width / 500**2 for box in boxes])
    aspects = np.sort([math.log(box.width / box.height) for box in boxes])
    for values, (least, most) in ((shares, (0.08, 0.5)), (aspects, np.log(RATIO))):
        expected = np.linspace(least, most, len(values))
        assert np.abs(values - expected).max() < 0.03 * (most - least)


# Resizing -----------------------------------------------------------------------------------------


def tent_weights(old, new):
    """What each of the old pixels of an axis adds to each of the new ones: a tent over it."""
    scale = old / new
    centres = (np.arange(new)[:, None] + 0.5) * scale
    distances = np.abs(np.arange(old) + 0.5 - centres) / max(scale, 1)  # wider to make smaller
    weights = np.maximum(0, 1 - distances)
    return weights / weights.sum(1, keepdims=True)


@given(size=st.tuples(lengths, lengths), out=st.tuples(lengths, lengths))
@settings(max_examples=60)
def test_each_pixel_of_a_resized_image_is_the_mean_under_a_tent(size, out):
    image = any_image(size)
    rows, columns = (tent_weights(*pair) for pair in zip(size, out, strict=True))
    expected = np.einsum("rh,hwc,kw->rkc", rows, image, columns, optimize=True)
    found = resized(image, out)
    assert found.dtype == np.uint8
    assert np.abs(found - expected).max() <= 1.01  # Pillow rounds after each of the two axes


# PyTorch repeats the first row where the result is one pixel wide.
@given(size=st.tuples(*[st.integers(2, 60)] * 2), out=st.tuples(*[st.integers(2, 40)] * 2))
@settings(max_examples=30)
def test_images_are_resized_as_pytorch_does_with_antialiasing(size, out):
    torch = pytest.importorskip("torch")
    image = any_image(size)
    planes = np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32)
    tensor = torch.from_numpy(planes)
    expected = torch.nn.functional.interpolate(
        tensor, out, mode="bilinear", align_corners=False, antialias=True
    )
    difference = np.abs(resized(image, out) - expected[0].numpy().transpose(1, 2, 0))
    assert difference.max() <= 1.01


def test_a_part_of_an_image_is_resized_without_what_lies_around_it():
    image = np.zeros((40, 40, 3), np.uint8)
    image[10:30, 10:30] = 200
    np.testing.assert_array_equal(resized(image[10:30, 10:30], (7, 9)), 200)


@pytest.mark.parametrize("size", [(6, 7), (1, 1), (300, 2)])
def test_what_is_resized_or_mirrored_can_be_written_to(size):
    image = any_image(size)
    image.flags.writeable = False
    for changed in (resized(image, size), resized(image, (5, 4)), mirrored(image)):
        assert changed.flags.writeable
        assert changed.flags.c_contiguous
    np.testing.assert_array_equal(mirrored(image), image[:, ::-1])


# Evaluation ---------------------------------------------------------------------------------------


@given(size=sizes, short_edge=st.integers(1, 300))
def test_the_shorter_edge_gets_its_length_and_the_other_the_aspect_rounded_down(size, short_edge):
    height, width = short_edge_size(size, short_edge)
    expected = int(short_edge * max(size) / min(size))
    assert (height, width) == (
        (short_edge, expected) if size[0] <= size[1] else (expected, short_edge)
    )


@pytest.mark.parametrize(
    ("size", "crop_size", "expected"),
    [
        ((256, 341), 224, CropBox(16, 58, 224, 224)),  # 58.5
        ((256, 343), 224, CropBox(16, 60, 224, 224)),  # 59.5: to the even one
        ((224, 224), 224, CropBox(0, 0, 224, 224)),
    ],
)
def test_the_middle_is_rounded_as_by_the_reference(size, crop_size, expected):
    assert centre_box(size, crop_size) == expected


@pytest.mark.parametrize("size", [(375, 500), (500, 333), (20, 31), (1, 9), (256, 256)])
def test_the_evaluation_crop_is_that_of_pillow_step_by_step(size):
    image = any_image(size)
    picture = Image.fromarray(image)
    height, width = size
    short, long = min(size), max(size)
    new = (256, int(256 * long / short)) if width <= height else (int(256 * long / short), 256)
    picture = picture.resize((new[0], new[1]), Image.Resampling.BILINEAR)
    left, top = round((picture.width - 224) / 2), round((picture.height - 224) / 2)
    expected = np.asarray(picture.crop((left, top, left + 224, top + 224)))
    found = evaluation_crop(image, 256, 224)
    assert found.shape == (224, 224, 3)
    np.testing.assert_array_equal(found, expected)
