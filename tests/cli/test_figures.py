import warnings

import numpy as np
import pytest

from gcnet_jax.cli.figures import Curve, save_page
from gcnet_jax.data import DatasetClasses


@pytest.mark.parametrize("name", ["$", "$x^{$", "a$b$", r"\$", "_hidden", "{}", "%s", "#"])
def test_names_of_classes_and_runs_are_no_formulas_and_are_not_left_out(tmp_path, name):
    def page(shown):
        path = tmp_path / "page.png"
        picture = np.zeros((8, 16, 3), np.uint8)
        classes = DatasetClasses((shown, "other"), ((255, 0, 0), (0, 255, 0)))
        rows = [{"split": "train", "step": 1, "loss": 1.0}, {"split": "val", "step": 1, "mIoU": 0}]
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # as matplotlib says of labels that it leaves out
            save_page(path, [{"image": picture}], classes, [Curve(shown, rows)])
        return path.read_bytes()

    assert page(name) != page("i")
