"""Pictures show the names that users give, whatever characters they have."""

import warnings

import numpy as np
import pytest

from gcnet_jax.tasks.picture_rows import save_examples
from gcnet_jax.tasks.segmentation.data import DatasetClasses
from gcnet_jax.training.curves import Curve, save_curves

ROWS = [
    {"step": 1, "split": "train", "loss": 2.0},
    {"step": 2, "split": "train", "loss": 1.0},
    {"step": 2, "split": "val", "mIoU": 0.5},
    {"step": 2, "split": "test"},  # of a line that somebody has changed
]


@pytest.mark.parametrize("name", ["$x^{$", r"$\\foo$", "_hidden", "50% {x}"])
def test_a_name_is_no_formula(tmp_path, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of names that are left out
        save_curves(tmp_path / "curves.png", [Curve(name, ROWS, "mIoU")])
        classes = DatasetClasses((name, "other"), ((0, 0, 0), (255, 255, 255)))
        save_examples(
            tmp_path / "examples.png", [{"image": np.zeros((8, 8, 3), np.uint8)}], classes.legend
        )
    assert (tmp_path / "curves.png").stat().st_size > 1000
