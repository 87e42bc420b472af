import cv2
import numpy as np
import pytest

from gcnet_jax.tasks.segmentation.evaluation import colorize, heat_bar, heat_overlay, label_overlay

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


def test_heat_is_brightest_where_it_is_greatest():
    heat = np.zeros((4, 4), np.float32)
    heat[2, 1] = 0.3
    overlay = heat_overlay(np.zeros((4, 4, 3), np.uint8), heat).sum(-1)
    assert overlay.argmax() == 4 * 2 + 1


@pytest.mark.parametrize("offset", [0, 0.99, -0.5])
def test_a_map_is_drawn_from_its_own_lowest_value_to_its_highest(offset):
    """However little it varies: one about 1 is no picture of one colour."""
    heat = (np.linspace(0, 0.01, 256, dtype=np.float32) + offset).reshape(16, 16)
    black = np.zeros((16, 16, 3), np.uint8)
    overlay, bar = heat_overlay(black, heat, opacity=1), heat_bar(heat, 256)
    np.testing.assert_allclose(overlay.reshape(-1, 3), bar[8].astype(int), atol=3)
    assert np.ptp(overlay.astype(int).sum(-1)) > 400


@pytest.mark.parametrize("value", [0, 1 / 4096])
def test_a_map_of_one_value_has_one_colour(value):
    """But for rounding."""
    heat = np.full((8, 8), value, np.float32)
    heat[0, 0] *= 1 + 2e-7
    black = np.zeros((8, 8, 3), np.uint8)
    assert len(np.unique(heat_overlay(black, heat).reshape(-1, 3), axis=0)) == 1
    assert len(np.unique(heat_bar(heat, 200)[8], axis=0)) == 1


def written(monkeypatch, heat):
    texts = []
    monkeypatch.setattr(cv2, "putText", lambda bar, text, *rest: texts.append(text))
    heat_bar(np.array([heat], np.float32), 200)
    return texts


def test_a_bar_says_in_multiples_of_the_mean_how_far_the_weights_are_apart(monkeypatch):
    assert written(monkeypatch, [0.1, 0.3]) == ["0.50", "1.50 x mean"]
    assert written(monkeypatch, [0.9999, 1.0001]) == ["0.99990", "1.00010 x mean"]
    assert written(monkeypatch, [-0.5, 2]) == ["-0.5", "2"]
    assert written(monkeypatch, [0.5, 0.5]) == ["the same everywhere"]
