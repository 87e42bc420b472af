import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcnet_jax.tasks.detection.regions.mask_targets import mask_targets
from gcnet_jax.tasks.detection.regions.roi_align import roi_align
from tests.tasks.detection.regions_plainly import features_of_box

SHAPE = 3, 20, 30


@jax.jit
def targets(boxes, masks, objects):
    """Of masks of 0 and 1, in an array that is padded to whole bytes with ones."""
    beyond = jnp.pad(masks, ((0, 0), (0, 4), (0, 2)), constant_values=1)
    packed = jnp.packbits(beyond, axis=-1)
    return mask_targets(boxes, packed, objects, jnp.array(SHAPE[1:]), bins=4)


@settings(max_examples=6)
@given(seed=st.integers(0, 99))
def test_bins_that_are_half_covered_are_true(seed):
    rng = np.random.default_rng(seed)
    y, x = np.indices(SHAPE[1:])
    masks = np.stack(
        [(y - cy) ** 2 + (x - cx) ** 2 < r**2 for cy, cx, r in rng.uniform(3, 15, (3, 3))]
    )
    boxes = rng.uniform(-5, [30, 20, 40, 30], (5, 4)).astype(np.float32)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    objects = rng.integers(0, 3, 5)
    result = targets(boxes, masks, objects)
    for k, number in enumerate(objects):
        clipped = np.clip(boxes[k], 0, [30, 20, 30, 20])
        maps, sizes = [masks[..., None]], [[SHAPE[1:]] * 3]
        covered = features_of_box(maps, clipped, number, 0, sizes, 4, 0, 1)[..., 0]
        clear = np.abs(covered - 0.5) > 1e-5  # what is covered by half is so up to rounding
        np.testing.assert_array_equal(result[k][clear], (covered >= 0.5)[clear])


def test_a_whole_object_fills_its_box_and_nothing_else_is_covered():
    masks = np.ones(SHAPE, np.uint8)
    boxes = np.float32([[2, 3, 20, 9], [2, 3, 2, 9], [2, 3, 20, 9], [40, 3, 50, 9]])
    result = targets(boxes, masks, np.array([1, 1, 3, 0]))
    assert result.all(axis=(1, 2)).tolist() == [True, False, False, False]
    assert result.any(axis=(1, 2)).tolist() == [True, False, False, False]


def test_an_image_in_a_larger_array_has_the_targets_that_it_has_alone():
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 20, (50, 2))
    boxes = np.concatenate([corner, np.minimum(corner + rng.uniform(4, 20, (50, 2)), 32)], axis=1)
    boxes = np.float32(np.concatenate([boxes, np.minimum(boxes + 12, [20, 20, 32, 32])]))
    alone = np.zeros((1, 32, 32), bool)
    alone[0, 10:, 5:] = True  # to the border, where what lies beyond would count
    larger = np.zeros((1, 64, 96), bool)
    larger[:, :32, :32] = alone
    alone, larger = (np.packbits(masks, axis=-1) for masks in (alone, larger))
    objects = np.zeros(len(boxes), np.int32)
    there = mask_targets(boxes, larger, objects, np.array([32, 32]))
    np.testing.assert_array_equal(there, mask_targets(boxes, alone, objects))
    assert (np.asarray(mask_targets(boxes, larger, objects)) != np.asarray(there)).any()


@pytest.mark.parametrize("width", [128, 320])
def test_masks_wider_than_a_tile_are_unpacked_from_any_bit_on(width):
    rng = np.random.default_rng(width)
    masks = rng.integers(0, 2, (2, 40, width), np.uint8)
    left = rng.choice(np.arange(width - 8), 12)  # at all places within a byte
    right = np.minimum(left + rng.choice([3, 8, 140, 200], 12), width)
    boxes = np.float32(np.stack([left, left % 30, right, left % 30 + 9], axis=1))
    objects = np.arange(12) % 2
    result = mask_targets(boxes, np.packbits(masks, axis=-1), objects, bins=4)
    alike = roi_align([masks[..., None]], boxes, objects, np.zeros(12, int), strides=[1], bins=4)
    np.testing.assert_array_equal(result, alike[..., 0] >= 0.5)
    assert 0 < result.mean() < 1
