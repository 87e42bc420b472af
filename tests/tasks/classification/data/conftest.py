"""Small data sets on disk, shared by the tests of classification's data."""

from pathlib import Path

import numpy as np
import pytest

from gcnet_jax.data import encode_png
from gcnet_jax.tasks.classification.data import prepare_class_folders

TRAIN, VAL = 7, 6


@pytest.fixture(scope="session")
def dots_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `dots` prepared: image i of a split is grey of 9 i, and of class i % 3."""
    folder = tmp_path_factory.mktemp("dots")
    for split, count in (("train", TRAIN), ("val", VAL)):
        for i in range(count):
            path = folder / "source" / split / "abc"[i % 3] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.full((10 + i, 20 - i, 3), 9 * i, np.uint8)
            path.write_bytes(encode_png(pixels))
    prepare_class_folders("dots", folder / "data", folder / "source")
    return folder / "data"
