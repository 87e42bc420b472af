"""Attention as pictures."""

import cv2
import numpy as np
import pytest

from gcnet_jax.analysis import heat_bar, heat_overlay


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
