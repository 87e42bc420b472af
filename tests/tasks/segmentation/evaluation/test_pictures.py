import numpy as np

from gcnet_jax.tasks.segmentation.evaluation import colorize, label_overlay

PALETTE = ((255, 0, 0), (0, 128, 0))


def test_classes_get_their_colours_and_ignored_pixels_grey():
    label = np.array([[0, 1], [255, 1]], np.uint8)
    expected = [[[255, 0, 0], [0, 128, 0]], [[200, 200, 200], [0, 128, 0]]]
    np.testing.assert_array_equal(colorize(label, PALETTE), expected)


def test_an_overlay_blends_colours_and_leaves_ignored_pixels():
    image = np.full((1, 2, 3), 100, np.uint8)
    overlay = label_overlay(image, np.array([[0, 255]], np.uint8), PALETTE, opacity=0.5)
    np.testing.assert_allclose(overlay[0, 0], [177.5, 50, 50], atol=1)
    np.testing.assert_array_equal(overlay[0, 1], [100, 100, 100])
