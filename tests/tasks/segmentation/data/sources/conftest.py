"""What the tests of all data sets ask for."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gcnet_jax.data.folders import VERSION
from gcnet_jax.errors import InputError
from gcnet_jax.tasks.segmentation.data import DATA_SETS, decode, prepare
from tests.official_trees import read_rgb


@pytest.fixture
def refused(tmp_path: Path) -> Callable:
    """`refused(name, source, message)`: preparing fails so, and leaves nothing that looks whole."""

    def check(name: str, source: Path, message: str, **options: object) -> None:
        with pytest.raises(InputError, match=message):
            prepare(name, tmp_path / "data", source, **({"subset": True} | options))
        with pytest.raises(InputError, match="not prepared"):
            DATA_SETS.open_split(name, tmp_path / "data", "train")
        assert not (tmp_path / "data" / name / VERSION).exists()
        assert not list((tmp_path / "data").rglob("dataset_info.json"))
        assert not list((tmp_path / "data").rglob("unpacked/*.partial"))

    return check


@pytest.fixture(params=["as_found", "uncompressed"])
def pixels(request: pytest.FixtureRequest) -> str:
    """Both ways to store pixels."""
    return request.param


@pytest.fixture
def stored(tmp_path: Path) -> Callable:
    """`stored(name, split, images, labels, pixels)`: the records are exactly these."""

    def check(
        name: str, split: str, images: list[Path], labels: list[np.ndarray], pixels: str
    ) -> None:
        data_dir = tmp_path / "data"
        records = DATA_SETS.open_split(name, data_dir, split)
        sizes = DATA_SETS.image_sizes(name, data_dir, split)
        assert len(records) == len(sizes) == len(images) > 0
        for record, size, image, label in zip(records, sizes, images, labels, strict=True):
            assert record["name"].decode() == image.stem
            assert record["size"].tolist() == size.tolist() == list(label.shape)
            assert (record["image"] == image.read_bytes()) == (pixels == "as_found")
            sample = decode(record)
            np.testing.assert_array_equal(sample["image"], read_rgb(image))
            np.testing.assert_array_equal(sample["label"], label)

    return check
