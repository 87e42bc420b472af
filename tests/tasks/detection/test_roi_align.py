import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gcnet_jax.errors import InputError
from gcnet_jax.tasks.detection.regions.levels import region_levels
from gcnet_jax.tasks.detection.regions.roi_align import roi_align
from tests.tasks.detection.regions_plainly import features_of_box

STRIDES, BINS = (4, 8), 3
SHAPES = (2, 7, 150, 2), (2, 4, 75, 2)  # wider than what is looked at in one piece
SIZES = ([7, 150], [5, 131]), ([4, 75], [3, 66])  # of the images' own parts


@functools.cache
def compiled(ratio):
    @jax.jit
    def value_and_gradient(maps, boxes, images, levels, sizes, cotangent):
        def apply(maps):
            return roi_align(
                maps,
                boxes,
                images,
                levels,
                strides=STRIDES,
                bins=BINS,
                sampling_ratio=ratio,
                sizes=sizes,
            )

        y, transposed = jax.vjp(apply, maps)
        return y, transposed(cotangent)[0]

    return value_and_gradient


def case(seed):
    """Maps, and boxes: ordinary, tiny, of a line's width, turned round, larger than the image."""
    rng = np.random.default_rng(seed)
    maps = tuple(rng.standard_normal(shape).astype(np.float32) for shape in SHAPES)
    corners = rng.uniform(-60, [680, 80], (6, 2))
    # No bin is as long as a whole number of positions but for rounding, which decides then.
    widths = [[90, 20], [0.3, 0.2], [500, 2], [-30, 9], [890, 200], [40, 12]]
    boxes = np.concatenate([corners, corners + widths], axis=1).astype(np.float32)
    boxes[5] = np.round(boxes[5])
    images, levels = rng.integers(0, 2, (2, 6)).astype(np.int32)
    cotangent = rng.standard_normal((6, BINS, BINS, 2)).astype(np.float32)
    sizes = tuple(np.array(size, np.int32) for size in SIZES)
    return maps, boxes, images, levels, sizes, cotangent


@settings(max_examples=6)
@given(seed=st.integers(0, 99), ratio=st.sampled_from([0, 2]))
@example(seed=0, ratio=0)
@example(seed=0, ratio=2)
def test_the_features_are_those_of_one_sample_after_the_other(seed, ratio):
    maps, boxes, images, levels, sizes, cotangent = case(seed)
    y, gradient = compiled(ratio)(maps, boxes, images, levels, sizes, cotangent)
    for k, (image, level) in enumerate(zip(images, levels, strict=True)):
        expected = features_of_box(maps, boxes[k], image, level, SIZES, BINS, ratio, STRIDES[level])
        np.testing.assert_allclose(y[k], expected, atol=2e-4)
    # It is linear in the maps: what the gradient says of the maps themselves is the result.
    through = sum(np.vdot(part, whole) for part, whole in zip(gradient, maps, strict=True))
    np.testing.assert_allclose(through, np.vdot(y, cotangent), rtol=1e-3, atol=1e-3)
    for part, own in zip(gradient, SIZES, strict=True):
        for of_image, (height, width) in zip(part, own, strict=True):
            assert not np.any(of_image[height:])
            assert not np.any(of_image[:, width:])


def test_boxes_of_a_whole_number_of_positions_a_bin_have_that_many_samples():
    numbers = np.arange(1, 57)
    features = np.random.default_rng(0).standard_normal((1, 1, 400, 1)).astype(np.float32)
    boxes = np.stack([0 * numbers, 0 * numbers, 7 * numbers, 1 + 0 * numbers], 1)
    index = jnp.zeros(len(numbers), jnp.int32)
    y = jax.jit(lambda x, boxes: roi_align((x,), boxes, index, index, strides=(1,), bins=7))(
        features, boxes.astype(np.float32)
    )
    for number, row in zip(numbers, y[:, 0, :, 0], strict=True):
        # With as many samples as positions, each is a position.
        expected = features[0, 0, : 7 * number, 0].reshape(7, number).mean(1)
        np.testing.assert_allclose(row, expected, atol=1e-5)


def test_what_is_not_there_gets_zeros_and_gives_no_gradient():
    maps, boxes, images, levels, sizes, cotangent = case(0)
    boxes[0], boxes[1, 2], boxes[2, 3] = 0, np.inf, np.nan
    images[3], images[4], levels[5] = -1, 2, 2
    y, gradient = compiled(0)(maps, boxes, images, levels, sizes, cotangent)
    assert not np.any(y)
    assert not any(np.any(part) for part in gradient)


def test_the_same_input_gives_the_same_bits_also_of_gradients():
    first, second = (compiled(0)(*case(1)) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first, second)


def test_gradients_are_sums_in_order_without_a_scatter_that_adds():
    text = compiled(0).lower(*case(0)).as_text()
    assert "dynamic_update_slice" in text
    assert "scatter" not in text


def test_no_accelerator_rounds_what_is_multiplied():
    text = compiled(0).lower(*case(0)).as_text()
    products = [line for line in text.splitlines() if "dot_general" in line]
    assert len(products) >= 4
    assert all("precision = [HIGHEST, HIGHEST]" in product for product in products)


@pytest.fixture(scope="module")
def small():
    """A function of one map, boxes and their images; arguments for it."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 5, 6, 3)).astype(np.float32)
    corners = rng.uniform(0, 10, (4, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(2, 12, (4, 2))], 1).astype(np.float32)
    images = np.array([0, 1, 1, 0], np.int32)

    def apply(x, boxes, images):
        return roi_align((x,), boxes, images, 0 * images, strides=(2,), bins=2)

    return apply, x, boxes, images


def test_it_is_differentiated_in_both_modes_twice_and_by_no_box(small):
    apply, x, boxes, images = small

    def loss(x, boxes):
        return jnp.sum(apply(x, boxes, images) ** 2) / 2

    @jax.jit
    def derivatives(x, boxes):
        y, tangent = jax.jvp(lambda x: apply(x, boxes, images), (x,), (jnp.cos(x),))
        gradient, by_box = jax.grad(loss, argnums=(0, 1))(x, boxes)
        product = jax.jvp(lambda x: jax.grad(loss)(x, boxes), (x,), (jnp.cos(x),))[1]
        return y, tangent, gradient, by_box, product

    y, tangent, gradient, by_box, product = derivatives(x, boxes)
    np.testing.assert_allclose(tangent, apply(jnp.cos(x), boxes, images), atol=1e-5)
    np.testing.assert_allclose(np.vdot(gradient, x), np.vdot(y, y), rtol=1e-4)
    np.testing.assert_allclose(np.vdot(gradient, np.cos(x)), np.vdot(y, tangent), rtol=1e-4)
    np.testing.assert_allclose(np.vdot(product, x), np.vdot(tangent, y), rtol=1e-4)
    assert not np.any(by_box)


def test_maps_of_a_narrow_type_are_summed_in_float32(small):
    apply, x, boxes, images = small
    narrow = jnp.asarray(x, jnp.bfloat16)
    for inputs in (narrow, narrow.astype(jnp.float32)):
        y, transposed = jax.vjp(lambda x: apply(x, boxes, images), inputs)
        gradient = transposed(jnp.ones_like(y))[0]
        assert y.dtype == gradient.dtype == inputs.dtype
        if inputs is narrow:
            rounded = y, gradient
    for ours, exact in zip(rounded, (y, gradient), strict=True):
        np.testing.assert_array_equal(ours, exact.astype(jnp.bfloat16))


def test_a_mapped_axis_is_an_image(small):
    apply, x, boxes, images = small
    zeros = 0 * images

    def loss(x, boxes):
        return jnp.sum(jnp.sin(apply(x[None], boxes, zeros)))

    both = jax.jit(jax.vmap(jax.value_and_grad(loss), in_axes=(0, None)))(x, boxes)
    for k in range(2):
        alone = jax.value_and_grad(loss)(x[k], boxes)
        for mapped, one in zip(both, alone, strict=True):
            np.testing.assert_allclose(mapped[k], one, atol=1e-5)


def test_other_numbers_of_strides_or_sizes_than_of_maps_are_refused():
    arguments = (jnp.zeros((1, 2, 2, 1)),) * 2, jnp.zeros((1, 4)), *jnp.zeros((2, 1), int)
    with pytest.raises(InputError, match="2 maps with 1 strides"):
        roi_align(*arguments, strides=(4,), bins=2)
    with pytest.raises(InputError, match="2 maps with 2 strides and 1 sizes"):
        roi_align(*arguments, strides=(4, 8), bins=2, sizes=[jnp.ones((1, 2), int)])


def test_a_box_is_a_level_higher_from_every_doubling_of_its_side():
    sides = np.float32([0, 1, 56, 111.9, 112, 223.9, 224, 447.9, 448, 900, 5000])
    boxes = np.stack([sides * 0 + 3, sides * 0 + 5, 3 + 2 * sides, 5 + sides / 2], axis=1)
    boxes = np.concatenate([boxes, np.float32([[9, 9, 2, 20], [0, 0, np.nan, 4]])])
    assert region_levels(boxes).tolist() == [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 3, 0, 0]
    assert region_levels(boxes, levels=2, finest=112).tolist() == [0] * 6 + [1] * 5 + [0] * 2
