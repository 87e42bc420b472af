import numpy as np

from gcnet_jax.evaluation import colorize, heat_overlay, label_overlay

PALETTE = ((255, 0, 0), (0, 128, 0))


def test_classes_get_their_colours_and_ignored_pixels_black():
    label = np.array([[0, 1], [255, 1]], np.uint8)
    expected = [[[255, 0, 0], [0, 128, 0]], [[0, 0, 0], [0, 128, 0]]]
    np.testing.assert_array_equal(colorize(label, PALETTE), expected)


def test_an_overlay_blends_colours_and_leaves_ignored_pixels():
    image = np.full((1, 2, 3), 100, np.uint8)
    overlay = label_overlay(image, np.array([[0, 255]], np.uint8), PALETTE, opacity=0.5)
    np.testing.assert_allclose(overlay[0, 0], [177.5, 50, 50], atol=1)
    np.testing.assert_array_equal(overlay[0, 1], [100, 100, 100])


def test_heat_is_brightest_where_it_is_greatest():
    heat = np.zeros((4, 4), np.float32)
    heat[2, 1] = 0.3
    overlay = heat_overlay(np.zeros((4, 4, 3), np.uint8), heat).sum(-1)
    assert overlay.argmax() == 4 * 2 + 1


def test_heat_that_is_zero_everywhere_does_not_divide_by_zero():
    heat_overlay(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.float32))
