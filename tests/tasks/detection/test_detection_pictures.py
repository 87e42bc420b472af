"""What is shown, and written, of the objects in an image."""

import json

import numpy as np
import pytest

from gcnet_jax.errors import InputError
from gcnet_jax.tasks.detection.pictures import ShownObject, draw_objects, object_color
from gcnet_jax.tasks.detection.result import DetectionResult

GREY = np.full((60, 90, 3), 100, np.uint8)


def box(*edges):
    return np.array(edges, np.float32)


def pixels(objects, **options):
    return np.asarray(draw_objects(GREY, objects, **options))


def test_a_mask_has_its_objects_colour_and_the_first_is_on_top():
    first, second = np.zeros((2, 60, 90), bool)
    first[30:50, 10:40], second[30:50, 30:70] = True, True
    objects = [ShownObject(box(0, 0, 5, 5), "", first), ShownObject(box(0, 0, 5, 5), "", second)]
    picture = pixels(objects, opacity=1)
    assert (picture[40, 35] == object_color(0)).all()
    assert (picture[40, 60] == object_color(1)).all()
    assert (picture[55, 60] == 100).all()
    half = pixels(objects[:1], opacity=0.5)
    np.testing.assert_allclose(half[40, 20], (np.array(object_color(0)) + 100) / 2, atol=1)
    assert (GREY == 100).all()


@pytest.mark.parametrize("edges", [(20, 30, 50, 55), (0, 0, 90, 60), (70, 40, 90, 60)])
def test_a_box_is_drawn_on_the_pixels_that_it_ends_with(edges):
    left, top, right, bottom = edges
    picture = pixels([ShownObject(box(*edges), "")])
    color = object_color(0)
    middle = (top + bottom) // 2, (left + right) // 2
    assert (picture[bottom - 1, middle[1]] == color).all()
    assert (picture[middle[0], right - 1] == color).all()
    assert (picture[middle[0], left] == color).all()
    assert (picture[middle] == 100).all()
    outside = np.ones((60, 90), bool)
    outside[max(top - 17, 0) : bottom, max(left - 17, 0) : right] = False  # with its words
    assert (picture[outside] == 100).all()


@pytest.mark.parametrize("edges", [(5, 5, 9, 9), (80, 50, 90, 60), (89, 0, 90, 60), (3, 3, 3, 3)])
def test_words_are_inside_the_picture_and_can_be_read(edges):
    for index in range(5):
        objects = [ShownObject(box(0, 59, 1, 60), "")] * index + [ShownObject(box(*edges), "owl")]
        picture = pixels(objects).astype(int)
        color = np.array(object_color(index))
        label = (picture == color).all(-1)
        rows, columns = np.flatnonzero(label.any(1)), np.flatnonzero(label.any(0))
        inside = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        contrast = np.abs(inside - color).sum(-1).max()
        assert contrast > 250


@pytest.fixture
def result():
    masks = np.zeros((2, 4, 4), np.float32)
    masks[0, :, :2] = 1
    return DetectionResult(
        GREY,
        np.array([[10, 20, 50, 40], [0, 0, 90, 60]], np.float32),
        np.array([0.9, 0.2], np.float32),
        np.array([1, 0]),
        masks,
        ("cat", "owl"),
    )


def test_a_result_says_where_its_objects_are(result, tmp_path):
    assert len(result) == 2
    assert repr(result) == "DetectionResult(90x60, 2 objects: owl 0.90, cat 0.20)"
    mask = result.mask(0)
    assert mask[21:39, 11:29].all()
    assert mask.sum() <= 20 * 22
    assert not result.mask(1).any()
    result.save(tmp_path / "found.json")
    found = json.loads((tmp_path / "found.json").read_text())
    assert found[0]["class"] == "owl"
    assert found[0]["index"] == 1
    assert found[0]["score"] == pytest.approx(0.9)
    assert found[0]["box"] == [10, 20, 50, 40]


def test_a_picture_shows_what_is_sure_enough(result):
    assert (np.asarray(result.picture())[59] == 100).all()
    assert not (np.asarray(result.picture(min_score=0.1))[59] == 100).any(-1).all()
    assert (np.asarray(result.picture(min_score=1)) == 100).all()


def test_a_layer_says_where_what_is_sure_enough_is_in_a_copy_of_another_size(result):
    layer = result.layer((120, 180))
    (part,) = layer.parts
    assert (part.name, part.value, part.region) == ("owl", pytest.approx(0.9), 1)
    assert part.box == pytest.approx((10 / 90, 20 / 60, 50 / 90, 40 / 60))
    assert set(np.unique(layer.regions)) == {0, 1}
    rows, columns = np.nonzero(layer.regions)
    assert (rows.min(), rows.max()) == pytest.approx((40, 79), abs=1)
    assert (columns.min(), columns.max()) == pytest.approx((20, 60), abs=2)


def test_of_objects_on_each_other_a_layer_shows_the_surest():
    boxes = np.array([[10, 10, 30, 30], [20, 10, 40, 30]], np.float32)
    masks = np.ones((2, 4, 4), np.float32)
    scores = np.array([0.9, 0.8], np.float32)
    result = DetectionResult(GREY, boxes, scores, np.zeros(2, int), masks, ("cat",))
    regions = result.layer((60, 90)).regions
    assert regions[20, [15, 25, 35]].tolist() == [1, 1, 2]


@pytest.mark.parametrize("options", [{"opacity": 5}, {"min_score": -0.1}, {"opacity": np.nan}])
def test_shares_that_are_none_are_refused(result, options):
    with pytest.raises(InputError, match=r"expected a number from 0 to 1"):
        result.picture(**options)


def test_a_network_without_masks_says_so():
    boxes = np.array([[10, 20, 50, 40]], np.float32)
    result = DetectionResult(GREY, boxes, np.ones(1), np.zeros(1, int), None, ("cat",))
    with pytest.raises(InputError, match="finds boxes, and no masks"):
        result.mask(0)
    assert result.picture().size == (90, 60)
    layer = result.layer((60, 90))
    assert layer.regions is None
    assert len(layer.parts) == 1
