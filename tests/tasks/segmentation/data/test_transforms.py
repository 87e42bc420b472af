import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcnet_jax.tasks.segmentation.data import transforms
from gcnet_jax.tasks.segmentation.data.transforms import CropBox, PhotometricDistortion
from tests.tasks.segmentation.data.step_by_step import distorted_step_by_step

sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))
seeds = st.integers(0, 2**32 - 1)


def aligned_pair(size, seed=0):
    """An image whose red channel repeats the label, so that it shows where they come apart."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 11, size, np.uint8)
    image = rng.integers(0, 256, (*size, 3), np.uint8)
    image[..., 0] = label
    return image, label


# Resize ------------------------------------------------------------------------------------------


@given(seed=seeds)
def test_scales_are_whole_multiples_of_the_base_within_the_range(seed):
    long, short = transforms.draw_scale(np.random.default_rng(seed), (2048, 1024), (0.5, 2.0))
    assert 1024 <= long <= 4096
    assert 512 <= short <= 2048
    assert long // 2 == short  # both come from one ratio


def test_scales_spread_over_the_whole_range():
    rng = np.random.default_rng(0)
    ratios = [transforms.draw_scale(rng, (1000, 500), (0.5, 2.0))[0] / 1000 for _ in range(2000)]
    assert min(ratios) < 0.51
    assert max(ratios) > 1.99
    assert np.mean(ratios) == pytest.approx(1.25, abs=0.04)


@given(size=sizes, target=sizes)
def test_resize_gives_the_size_and_invents_no_labels(size, target):
    image, label = aligned_pair(size)
    resized_image, resized_label = transforms.resize(image, label, target)
    assert resized_image.shape == (*target, 3)
    assert resized_label.shape == target
    assert resized_image.dtype == resized_label.dtype == np.uint8
    assert set(np.unique(resized_label)) <= set(np.unique(label))


@given(size=sizes, factor=st.integers(1, 4))
def test_enlarged_images_and_labels_stay_aligned(size, factor):
    image, label = aligned_pair(size)
    image[..., 0] = label[:, :1]  # rows of one class, so that both kinds of resize can be compared
    label = np.ascontiguousarray(image[..., 0])
    height, width = size
    resized_image, resized_label = transforms.resize(image, label, (height, factor * width))
    np.testing.assert_array_equal(resized_image[..., 0], resized_label)


def near(length):
    """New lengths of an axis: any, or almost the same, which OpenCV may take for the same."""
    return st.integers(1, 100) | st.integers(max(length - 2, 1), length + 2)


@given(data=st.data(), size=sizes)
@settings(max_examples=300)
def test_a_resized_box_has_the_pixels_of_the_whole_resized_image(data, size):
    image, label = aligned_pair(size)
    target = tuple(data.draw(near(length)) for length in size)
    top, left = (data.draw(st.integers(0, length - 1)) for length in target)
    height, width = data.draw(sizes)
    box = CropBox(top, left, height, width)
    part, part_label = transforms.resize(image, label, target, box)
    whole = cv2.resize(image, target[::-1], interpolation=cv2.INTER_LINEAR)
    whole_label = cv2.resize(label, target[::-1], interpolation=cv2.INTER_NEAREST)
    np.testing.assert_array_equal(part, whole[top : top + height, left : left + width])
    np.testing.assert_array_equal(part_label, whole_label[top : top + height, left : left + width])


def test_a_resized_box_has_the_pixels_of_the_whole_at_the_sizes_of_training():
    image, label = aligned_pair((1024, 2048))
    rng = np.random.default_rng(0)
    for height in (512, 700, 1023, 1024, 1025, 1371, 2047, 2048):
        box = CropBox(*(int(rng.integers(n)) for n in (height - 511, 2 * height - 1023)), 512, 1024)
        part, part_label = transforms.resize(image, label, (height, 2 * height), box)
        rows, columns = (slice(a, a + n) for a, n in ((box.top, 512), (box.left, 1024)))
        whole = cv2.resize(image, (2 * height, height), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_array_equal(part, whole[rows, columns])
        whole = cv2.resize(label, (2 * height, height), interpolation=cv2.INTER_NEAREST)
        np.testing.assert_array_equal(part_label, whole[rows, columns])


def test_a_box_that_almost_keeps_the_size_is_resized_all_the_same():
    # By 36 / 35 fifteen columns stay fifteen, which alone OpenCV would only copy.
    image, label = aligned_pair((11, 35))
    part, _ = transforms.resize(image, label, (11, 36), CropBox(0, 9, 11, 5))
    np.testing.assert_array_equal(part, cv2.resize(image, (36, 11))[:, 9:14])


@given(old=st.integers(1, 5000), new=st.integers(1, 5000))
@settings(max_examples=300)
def test_labels_are_resized_to_the_pixels_that_opencv_takes(old, new):
    # 256 classes are too few to tell 5000 pixels apart; two labels make 16 bits.
    places = np.arange(old)
    low, high = (
        transforms.resize(np.zeros((1, old, 3), np.uint8), part[None].astype(np.uint8), (1, new))[1]
        for part in (places % 256, places // 256)
    )
    expected = cv2.resize(places.astype(np.uint16)[None], (new, 1), interpolation=cv2.INTER_NEAREST)
    np.testing.assert_array_equal(high.astype(int) * 256 + low, expected)


def test_a_box_beyond_the_image_ends_with_it():
    image, label = aligned_pair((4, 5))
    _, cropped = transforms.resize(image, label, (4, 5), CropBox(2, 3, height=10, width=10))
    np.testing.assert_array_equal(cropped, label[2:, 3:])


def test_images_that_cannot_be_written_to_are_resized_as_well():
    image, label = aligned_pair((8, 9))
    image.setflags(write=False)
    label.setflags(write=False)
    part, part_label = transforms.resize(image, label, (8, 9), CropBox(1, 2, 3, 4))
    np.testing.assert_array_equal(part, image[1:4, 2:6])
    np.testing.assert_array_equal(part_label, label[1:4, 2:6])


# Crop --------------------------------------------------------------------------------------------


@given(size=sizes, target=sizes, crop_size=sizes, seed=seeds, ratio=st.sampled_from([0.3, 1.0]))
def test_crops_lie_in_the_resized_image(size, target, crop_size, seed, ratio):
    _, label = aligned_pair(size)
    box = transforms.draw_crop(np.random.default_rng(seed), label, target, crop_size, ratio)
    assert (box.height, box.width) == crop_size
    for start, length, available in zip((box.top, box.left), crop_size, target, strict=True):
        assert 0 <= start <= max(available - length, 0)


def test_crops_reach_every_place_and_no_further():
    rng = np.random.default_rng(0)
    label = np.zeros((2, 9), np.uint8)
    boxes = [transforms.draw_crop(rng, label, (5, 7), (3, 4), 1.0) for _ in range(500)]
    assert {(box.top, box.left) for box in boxes} == {
        (t, lft) for t in range(3) for lft in range(4)
    }


def share_of_largest_class(label):
    counts = np.bincount(label.ravel(), minlength=256)[:255]
    return counts.max() / max(counts.sum(), 1)


def test_crops_filled_by_one_class_are_drawn_again():
    # A border between two classes: about two thirds of all crops see only one of them.
    label = np.zeros((8, 90), np.uint8)
    label[:, 45:] = 1
    rng = np.random.default_rng(0)
    shares = {ratio: [] for ratio in (0.75, 1.0)}
    for ratio, found in shares.items():
        for _ in range(300):
            box = transforms.draw_crop(rng, label, label.shape, (8, 30), ratio)
            found.append(share_of_largest_class(label[:, box.left : box.left + 30]))
    crowded = {ratio: np.mean(np.array(found) >= 0.75) for ratio, found in shares.items()}
    assert crowded[1.0] > 0.6
    # With one try in four varied, all ten fail in 0.75 ** 11 = 4 percent of the cases.
    assert 0 < crowded[0.75] < 0.1


class CountingGenerator:
    """A stand-in for a generator that draws zero and counts how often."""

    def __init__(self):
        self.draws = 0

    def integers(self, high):
        assert high >= 1
        self.draws += 1
        return 0


@pytest.mark.parametrize(
    ("label", "boxes"),
    [
        (np.array([[0, 0, 0, 0]]), 11),  # one class: ten tries fail and the eleventh is taken
        (np.array([[0, 0, 0, 1]]), 11),  # three quarters are too much: the bound is exclusive
        (np.array([[0, 0, 1, 1]]), 1),
        (np.array([[0, 0, 255, 255]]), 11),  # ignored pixels are no second class
        (np.array([[0, 0, 255, 1]]), 1),  # nor do they count in the share: two thirds
        (
            np.array([[0, 0, 0, 255, 255, 255, 1]]),
            11,
        ),  # which is three quarters here, not three 7ths
        (np.array([[255, 255]]), 11),
    ],
)
def test_a_crop_needs_two_classes_of_which_none_takes_three_quarters(label, boxes):
    rng = CountingGenerator()
    transforms.draw_crop(rng, label.astype(np.uint8), label.shape, label.shape, 0.75)  # pyright: ignore
    assert rng.draws == 2 * boxes


# Flip and pad ------------------------------------------------------------------------------------


@given(size=sizes)
def test_flipping_mirrors_image_and_label_alike_and_twice_is_nothing(size):
    image, label = aligned_pair(size)
    flipped_image, flipped_label = transforms.flip(image, label)
    np.testing.assert_array_equal(flipped_label, np.fliplr(label))
    np.testing.assert_array_equal(flipped_image[..., 0], flipped_label)
    again_image, again_label = transforms.flip(flipped_image, flipped_label)
    np.testing.assert_array_equal(again_image, image)
    np.testing.assert_array_equal(again_label, label)


@given(size=sizes, extra=st.tuples(st.integers(0, 20), st.integers(0, 20)))
def test_padding_extends_bottom_and_right_by_black_and_ignored(size, extra):
    image, label = aligned_pair(size)
    height, width = size
    padded_size = (height + extra[0], width + extra[1])
    padded_image, padded_label = transforms.pad(image, label, padded_size)
    assert padded_image.shape == (*padded_size, 3)
    assert padded_label.shape == padded_size
    np.testing.assert_array_equal(padded_image[:height, :width], image)
    np.testing.assert_array_equal(padded_label[:height, :width], label)
    padding = np.ones(padded_size, bool)
    padding[:height, :width] = False
    assert (padded_image[padding] == 0).all()
    assert (padded_label[padding] == 255).all()


# Photometric distortion --------------------------------------------------------------------------


def pixel(*rgb):
    return np.array([[rgb]], np.uint8)


@pytest.mark.parametrize(
    ("distortion", "before", "after"),
    [
        (PhotometricDistortion(), (10, 20, 30), (10, 20, 30)),
        (PhotometricDistortion(brightness=20.5), (10, 20, 250), (30, 40, 255)),
        (PhotometricDistortion(brightness=-20.5), (10, 21, 250), (0, 0, 229)),
        (PhotometricDistortion(contrast=1.3), (10, 101, 250), (13, 131, 255)),
        (PhotometricDistortion(contrast=1.3, contrast_first=False), (10, 101, 250), (13, 131, 255)),
        (PhotometricDistortion(saturation=0.0), (10, 101, 250), (250, 250, 250)),
        (PhotometricDistortion(hue=60), (255, 0, 0), (0, 255, 0)),  # red to green by 120 degrees
        (PhotometricDistortion(hue=-60), (255, 0, 0), (0, 0, 255)),  # the other way round, wrapped
    ],
)
def test_each_change_does_what_it_is_called_after(distortion, before, after):
    distorted = transforms.distort_photometric(pixel(*before), distortion)
    np.testing.assert_array_equal(distorted, pixel(*after))


def test_contrast_is_clipped_before_or_after_saturation_as_drawn():
    image = pixel(200, 100, 100)
    first, last = (
        transforms.distort_photometric(
            image, PhotometricDistortion(contrast=1.5, contrast_first=order, saturation=0.5)
        )
        for order in (True, False)
    )
    # First: (255, 150, 150), of which half the saturation. Last: (200, 150, 150), then times 1.5.
    np.testing.assert_allclose(first[0, 0], (255, 202, 202), atol=1)
    np.testing.assert_allclose(last[0, 0], (255, 225, 225), atol=1)


@given(seed=seeds)
@settings(max_examples=100)
def test_drawn_distortions_give_the_pixels_of_every_step_made_by_itself(seed):
    distortion = transforms.draw_photometric_distortion(np.random.default_rng(seed))
    image, _ = aligned_pair((20, 30), seed=1)
    np.testing.assert_array_equal(
        transforms.distort_photometric(image, distortion), distorted_step_by_step(image, distortion)
    )


@given(seed=seeds)
@settings(max_examples=40)
def test_drawn_distortions_leave_the_input_alone_and_give_uint8(seed):
    image, _ = aligned_pair((9, 13), seed=1)
    before = image.copy()
    distortion = transforms.draw_photometric_distortion(np.random.default_rng(seed))
    distorted = transforms.distort_photometric(image, distortion)
    assert distorted.shape == image.shape
    assert distorted.dtype == np.uint8
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    ("change", "low", "high"),
    [("brightness", -32, 32), ("contrast", 0.5, 1.5), ("saturation", 0.5, 1.5), ("hue", -18, 17)],
)
def test_each_change_is_drawn_half_the_time_over_its_whole_range(change, low, high):
    rng = np.random.default_rng(0)
    drawn = [getattr(transforms.draw_photometric_distortion(rng), change) for _ in range(2000)]
    values = np.array([value for value in drawn if value is not None])
    assert 900 < len(values) < 1100
    assert low <= values.min() < low + 0.05 * (high - low)
    assert high - 0.05 * (high - low) < values.max() <= high


def test_contrast_comes_first_half_the_time():
    rng = np.random.default_rng(0)
    first = sum(transforms.draw_photometric_distortion(rng).contrast_first for _ in range(1000))
    assert 430 < first < 570
