import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gcnet_jax.errors import InputError
from gcnet_jax.ops import normalize_images


def test_channels_are_centred_and_scaled():
    pixel = np.array([124, 116, 104], np.uint8)
    expected = (pixel - np.array([123.675, 116.28, 103.53])) / np.array([58.395, 57.12, 57.375])
    result = normalize_images(np.tile(pixel, (1, 2, 3, 1)))
    np.testing.assert_allclose(result[0, 1, 2], expected, rtol=1e-4)


def test_padding_is_zero_after_normalisation():
    images = np.full((2, 4, 5, 3), 200, np.uint8)
    result = np.asarray(normalize_images(images, np.array([[2, 5], [4, 3]])))
    inside = result != 0
    assert inside[0, :2].all()
    assert not inside[0, 2:].any()
    assert inside[1, :, :3].all()
    assert not inside[1, :, 3:].any()


@pytest.mark.parametrize("dtype", [np.float32, np.int32, bool])
def test_only_8_bit_images_are_normalised(dtype):
    """Of floats nobody can tell whether they end at 255, at 1, or are normalised already."""
    images = np.ones((1, 4, 5, 3), dtype)
    for call in (normalize_images, jax.jit(normalize_images)):
        with pytest.raises(
            InputError, match=f"dtype {np.dtype(dtype)}; expected uint8, RGB from 0"
        ):
            call(images)


@pytest.mark.parametrize("shape", [(4, 5, 3), (1, 3, 4, 5), (1, 4, 5, 4), (1, 0, 5, 3)])
def test_images_of_another_shape_are_not_normalised(shape):
    with pytest.raises(InputError, match=r"expected \(batch, height, width, 3\)"):
        normalize_images(jnp.ones(shape, jnp.uint8))
