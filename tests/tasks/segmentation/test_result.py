"""Labels, shares, pictures and files of one image's result."""

import numpy as np
import pytest
from PIL import Image

from gcnet_jax.errors import InputError
from gcnet_jax.tasks.segmentation.data import DatasetClasses
from gcnet_jax.tasks.segmentation.result import SegmentationResult

CLASSES = DatasetClasses(
    ("road", "café \u0434", "sky"), ((128, 64, 128), (0, 255, 0), (70, 130, 180))
)
LABEL = np.zeros((40, 60), np.uint8)
LABEL[:10] = 2
LABEL[0, 0] = 1
IMAGE = np.full((40, 60, 3), 100, np.uint8)


@pytest.fixture
def result():
    return SegmentationResult(IMAGE, LABEL, CLASSES, lambda image: np.zeros((*image.shape[:2], 3)))


def test_shares_are_of_the_classes_that_occur_largest_first(result):
    assert list(result.shares) == ["road", "sky", "café \u0434"]
    assert result.shares["road"] == 0.75
    assert sum(result.shares.values()) == pytest.approx(1)
    assert repr(result) == "SegmentationResult(60x40: road 75%, sky 25%, café \u0434 <1%)"


def test_a_saved_label_holds_indices_and_shows_colours(result, tmp_path):
    result.save(tmp_path / "label.png")
    with Image.open(tmp_path / "label.png") as saved:
        assert saved.mode == "P"
        np.testing.assert_array_equal(np.asarray(saved), LABEL)
        np.testing.assert_array_equal(
            np.asarray(saved.convert("RGB")), np.array(CLASSES.palette, np.uint8)[LABEL]
        )


def test_indices_beyond_the_classes_survive_saving(tmp_path):
    label = LABEL.copy()
    label[5, 5] = 255
    SegmentationResult(IMAGE, label, CLASSES, lambda image: image).save(tmp_path / "label.png")
    with Image.open(tmp_path / "label.png") as saved:
        np.testing.assert_array_equal(np.asarray(saved), label)


def test_a_label_is_saved_as_a_png_or_not_at_all(result, tmp_path):
    with pytest.raises(InputError, match=r"label\.jpg is no name of a PNG"):
        result.save(tmp_path / "label.jpg")
    with pytest.raises(InputError, match="cannot be written"):
        result.save(tmp_path / "nowhere" / "label.png")
    assert not list(tmp_path.iterdir())


def test_a_picture_is_the_image_with_colours_over_it(result):
    picture = np.asarray(result.picture())
    assert picture.shape == IMAGE.shape
    assert picture[30, 30].tolist() == [114, 82, 114]
    np.testing.assert_array_equal(np.asarray(result.picture(opacity=0)), IMAGE)


def test_a_legend_stands_below_the_picture_with_the_colours_that_occur(result):
    plain, picture = np.asarray(result.picture()), np.asarray(result.picture(legend=True))
    np.testing.assert_array_equal(picture[:40, :60], plain)
    legend = picture[40:].reshape(-1, 3)
    for color in CLASSES.palette:
        assert (legend == color).all(-1).sum() > 20
    assert picture.shape[1] > 60, "the longest name has room"


def test_a_layer_says_where_each_class_is_in_a_copy_of_another_size(result):
    layer = result.layer((20, 30))
    np.testing.assert_array_equal(layer.regions[5:], 0)
    np.testing.assert_array_equal(layer.regions[:5, 1:], 2)
    assert [(part.name, part.region, part.color) for part in layer.parts] == [
        ("road", 0, (128, 64, 128)),
        ("sky", 2, (70, 130, 180)),
        ("café \u0434", 1, (0, 255, 0)),
    ]
    assert [part.value for part in layer.parts] == list(result.shares.values())
    np.testing.assert_array_equal(result.layer((40, 60)).regions, LABEL)


def test_a_result_as_plain_json_has_the_classes_by_name_and_index(result):
    plain = result.to_plain()
    assert (plain["height"], plain["width"]) == (40, 60)
    assert plain["classes"][0] == {"class": "road", "index": 0, "share": 0.75}
    assert [x["index"] for x in plain["classes"]] == [0, 2, 1]
