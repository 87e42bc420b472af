"""Small data sets on disk, shared by the tests of the data layer."""

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from gcnet_jax.tasks.segmentation.data import prepare

CamvidTree = Callable[..., Path]


def write_camvid(
    folder: Path,
    sizes: dict[str, list[tuple[int, int]]] | None = None,
    suffix: str = ".png",
) -> Path:
    """Writes a tree in CamVid's layout, with images that tell which one they are.

    Image i of a split is uniformly (i, 2 i, 3 i), its label has class i % 11 at the top and void
    in its last row.
    """
    sizes = sizes or {"train": [(12, 16)] * 6, "val": [(12, 16)] * 3, "test": [(12, 16)] * 3}
    for split, split_sizes in sizes.items():
        (folder / split).mkdir(parents=True)
        (folder / f"{split}annot").mkdir()
        for i, (height, width) in enumerate(split_sizes):
            image = np.full((height, width, 3), (3 * i, 2 * i, i), np.uint8)  # OpenCV wants BGR
            label = np.full((height, width), i % 11, np.uint8)
            label[-1] = 11
            cv2.imwrite(str(folder / split / f"frame_{i:03d}{suffix}"), image)
            cv2.imwrite(str(folder / f"{split}annot" / f"frame_{i:03d}.png"), label)
    return folder


@pytest.fixture
def camvid_tree(tmp_path: Path) -> CamvidTree:
    """A function that writes a small CamVid-like source folder and returns it."""
    return lambda **kwargs: write_camvid(tmp_path / "source", **kwargs)


@pytest.fixture(scope="session")
def camvid_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared CamVid-like data set: 7 training images, 3 + 3 test images of two sizes."""
    folder = tmp_path_factory.mktemp("camvid")
    alternating = [(12, 16), (10, 20)] * 3
    sizes = {"train": [(12, 16)] * 7, "val": [(12, 16)] * 4, "test": alternating}
    source = write_camvid(folder / "source", sizes=sizes)
    prepare("camvid", folder / "data", source, subset=True)
    return folder / "data"


@pytest.fixture
def own_camvid(camvid_dir, tmp_path):
    """A copy of the prepared CamVid to do harm to: the folder of the set."""
    shutil.copytree(camvid_dir / "camvid", tmp_path / "camvid")
    return tmp_path / "camvid" / "2.0.0"
