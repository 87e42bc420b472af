import numpy as np

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
