import numpy as np
import pytest

from gcnet_jax.ops import inside, strided, zero_outside


@pytest.mark.parametrize("lengths", [(7,), (5, 6), (2, 3, 4)])
def test_an_image_lies_at_the_lower_end_of_each_axis(lengths):
    sizes = np.array([lengths, [1] * len(lengths), [0] * len(lengths)])
    mask = np.asarray(inside(sizes, lengths))
    for of_image, size in zip(mask, sizes, strict=True):
        expected = np.zeros(lengths, bool)
        expected[tuple(slice(n) for n in size)] = True
        np.testing.assert_array_equal(of_image, expected)


def test_only_what_is_outside_becomes_zero_even_what_is_no_number():
    x = np.array([[[1.0], [np.nan], [3.0]]], np.float32)
    result = np.asarray(zero_outside(x, np.array([[True, False, True]])))
    np.testing.assert_array_equal(result[0, :, 0], [1.0, 0.0, 3.0])
    assert zero_outside(x, None) is x


@pytest.mark.parametrize("length", range(1, 10))
@pytest.mark.parametrize("stride", [1, 2])
def test_a_stride_leaves_as_many_positions_as_a_convolution(length, stride):
    mask = inside(np.array([[length, length]]), (9, 9))
    expected = inside(np.array([[-(-length // stride)] * 2]), (-(-9 // stride),) * 2)
    np.testing.assert_array_equal(strided(mask, stride), expected)
    assert strided(None, stride) is None
