"""Photographs of any size: what a network finds is where it is in the photograph."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from gcnet_jax.data import rescaled_size
from gcnet_jax.errors import InputError
from gcnet_jax.task import PretrainedModel
from gcnet_jax.tasks.detection.classes import ObjectClasses
from gcnet_jax.tasks.detection.config import default_config
from gcnet_jax.tasks.detection.detector import Detections
from gcnet_jax.tasks.detection.image_shapes import array_shape
from gcnet_jax.tasks.detection.trained_detector import TrainedDetector
from tests.tasks.detection.narrow_detector import CLASSES, narrow_config, narrow_detector

SIDE = 28
RED, GREY = (255, 0, 0), (90, 90, 90)


class RedDetector(nnx.Module):
    """Finds what is red by its pixels, and the whole image as far as it is not padding."""

    def __init__(self):
        self.parameter = nnx.Param(jnp.zeros(()))

    def __call__(self, images, sizes):
        boxes, masks = jax.vmap(red_box)(images)
        whole = jnp.concatenate([jnp.zeros_like(sizes), sizes[:, ::-1]], axis=1)
        height, width = images.shape[1:3]
        inside = (jnp.arange(height)[:, None] < sizes[:, :1, None]) & (
            jnp.arange(width) < sizes[:, 1:, None]
        )
        most = jnp.abs(jnp.where(inside[..., None], 0, images)).max((1, 2, 3))
        rows = (len(images), 3)
        return Detections(
            boxes=jnp.stack([boxes, whole.astype(jnp.float32), jnp.full_like(boxes, 7)], axis=1),
            scores=jnp.stack([jnp.full_like(most, 0.9), 0.5 - most, most], axis=1),
            classes=jnp.broadcast_to(jnp.array([1, 0, 1]), rows),
            valid=jnp.broadcast_to(jnp.array([True, True, False]), rows),
            masks=jnp.stack([masks, jnp.ones_like(masks), masks], axis=1),
        )


def red_box(image):
    red = (image[..., 0] - image[..., 1]) > 2.2
    rows, columns = red.any(1), red.any(0)
    box = [columns.argmax(), rows.argmax(), last(columns), last(rows)]
    left, top, right, bottom = (jnp.asarray(x, jnp.float32) for x in box)
    bins = (jnp.arange(SIDE) + 0.5) / SIDE
    y = (top + bins * (bottom - top)).astype(int)
    x = (left + bins * (right - left)).astype(int)
    return jnp.stack([left, top, right, bottom]), red[y[:, None], x].astype(jnp.float32)


def last(line):
    return len(line) - line[::-1].argmax()


def trained(model, config, names):
    pretrained = PretrainedModel(model, ObjectClasses(names), epath.Path("x.pth"))
    return TrainedDetector(pretrained, config)


@pytest.fixture(scope="module")
def finds_red():
    return trained(RedDetector(), default_config(), ("image", "red"))


def scene(height, width, box, shape="rectangle"):
    """A grey photograph with something red that fills a box to its edges."""
    image = Image.new("RGB", (width, height), GREY)
    left, top, right, bottom = box
    getattr(ImageDraw.Draw(image), shape)((left, top, right - 1, bottom - 1), fill=RED)
    return np.asarray(image)


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((480, 640), (100, 50, 301, 450)),
        ((640, 427), (1, 2, 400, 639)),
        ((801, 1335), (37, 37, 1335, 801)),
        ((1500, 2048), (700, 300, 1900, 1499)),
        ((333, 777), (0, 0, 101, 103)),
        ((97, 53), (10, 11, 40, 81)),
        ((60, 2000), (500, 10, 1500, 50)),
        ((1900, 70), (5, 100, 65, 1800)),
    ],
    ids=lambda x: "x".join(map(str, x)),
)
def test_boxes_and_masks_are_where_the_object_is_in_the_photograph(finds_red, size, box):
    photo = scene(*size, box, "ellipse")
    result = finds_red(photo)
    assert len(result) == 2
    assert result.labels.tolist() == [1, 0]
    np.testing.assert_allclose(result.scores, [0.9, 0.5])  # nothing beside the image but zeros
    seen = rescaled_size(size, (1333, 800))
    pixel = max(1.0, size[0] / seen[0], size[1] / seen[1])  # of the network, in the photograph
    np.testing.assert_allclose(result.boxes[0], box, atol=1.5 * pixel)
    np.testing.assert_allclose(result.boxes[1], [0, 0, size[1], size[0]], rtol=1e-6)
    truth = photo[..., 0] == 255
    mask = result.mask(0)
    assert mask.shape == truth.shape
    assert (mask & truth).sum() / (mask | truth).sum() > 0.93
    rows, columns = (np.flatnonzero(truth.any(axis)) for axis in (1, 0))
    ours = [np.flatnonzero(mask.any(axis)) for axis in (1, 0)]
    for found, expected in zip(ours, (rows, columns), strict=True):
        bin_of_mask = len(expected) / SIDE
        assert abs(found[0] - expected[0]) <= bin_of_mask + pixel
        assert abs(found[-1] - expected[-1]) <= bin_of_mask + pixel
    assert_covers(result.mask(1))


def assert_covers(mask):
    """Of a mask that is certain everywhere: all but the corners, where it is cut off both ways."""
    bins = [-(-length // SIDE) for length in mask.shape]
    assert mask.mean() > 0.97
    assert mask[bins[0] : -bins[0]].all()
    assert mask[:, bins[1] : -bins[1]].all()


def test_a_mirrored_photograph_has_mirrored_boxes_and_masks(finds_red):
    photo = scene(303, 505, (40, 30, 200, 280), "ellipse")
    result, mirrored = finds_red([photo, photo[:, ::-1]])
    left, top, right, bottom = result.boxes[0]
    np.testing.assert_allclose(mirrored.boxes[0], [505 - right, top, 505 - left, bottom], atol=0.7)
    assert (mirrored.mask(0) != result.mask(0)[:, ::-1]).mean() < 0.01


def test_a_photograph_that_is_stored_turned_is_seen_as_it_is_displayed(finds_red, tmp_path):
    photo = scene(120, 200, (20, 60, 90, 110))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(photo)).save(tmp_path / "turned.png", exif=exif)
    for image in (tmp_path / "turned.png", Image.open(tmp_path / "turned.png")):
        result = finds_red(image)
        assert result.image.shape == (120, 200, 3)
        np.testing.assert_allclose(result.boxes[0], [20, 60, 90, 110], atol=1)


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (2999, 1), (1, 7), (2, 1)])
def test_photographs_of_one_pixel_have_results_too(finds_red, size):
    result = finds_red(np.full((*size, 3), RED, np.uint8))
    for box in result.boxes:
        np.testing.assert_allclose(box, [0, 0, size[1], size[0]], rtol=1e-6)
    assert_covers(result.mask(0))
    result.picture()


def test_a_list_of_photographs_gives_a_list_in_its_order():
    config = default_config()
    config.data.base_scale, config.evaluation.batch_size = (320, 200), 2
    finds_red = trained(RedDetector(), config, ("image", "red"))
    boxes = [(10 + 9 * i, 20, 60 + 11 * i, 90) for i in range(8)]
    sizes = [(100, 150), (150, 140), (100, 150), (300, 138), (120, 160), (100, 150), (100, 400)]
    sizes.append((101, 151))  # five of one shape, which go through in three batches
    photos = [scene(*size, box) for size, box in zip(sizes, boxes, strict=True)]
    results = finds_red(photos)
    assert [result.image.shape[:2] for result in results] == sizes
    for box, photo, result in zip(boxes, photos, results, strict=True):
        np.testing.assert_allclose(result.boxes[0], box, atol=2)
        np.testing.assert_array_equal(result.boxes, finds_red(photo).boxes)
    assert finds_red([]) == []


def test_what_is_no_image_is_refused(finds_red, tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    for image, says in (
        (tmp_path / "text.jpg", "text.jpg"),
        (np.ones((9, 9, 3), np.float32), "dtype float32; expected uint8"),
        (None, "the image is a NoneType; expected a path"),
    ):
        with pytest.raises(InputError, match=says):
            finds_red([scene(9, 9, (1, 1, 5, 5)), image])


# With networks -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def narrow():
    """A network of random weights, which sees photographs in 128x64 or less."""
    config = default_config()
    config.model = narrow_config()
    config.data.base_scale = (128, 64)
    config.evaluation.batch_size = 3
    return trained(narrow_detector(), config, tuple("abcde"[:CLASSES]))


def photograph(seed, size):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)


def assert_same(result, other):
    np.testing.assert_array_equal(result.image, other.image)
    np.testing.assert_array_equal(result.labels, other.labels)
    np.testing.assert_allclose(result.scores, other.scores, atol=1e-4)
    np.testing.assert_allclose(result.boxes, other.boxes, atol=1e-3 * max(result.image.shape))
    for index in range(len(result)):
        assert (result.mask(index) != other.mask(index)).mean() < 1e-3


def test_photographs_of_several_sizes_have_the_results_that_each_has_among_its_likes(narrow):
    sizes = [(60, 90), (64, 79), (900, 1300)]  # one program for all of them
    photos = [photograph(seed, size) for seed, size in enumerate(sizes)]
    results = narrow(photos)
    assert sum(map(len, results)) > 10
    for photo, result in zip(photos, results, strict=True):
        for among_its_likes in narrow([photo] * 3):
            assert_same(result, among_its_likes)


def test_balloons_go_through_a_network_and_into_a_picture(narrow, shared):
    folder = shared / "instances" / "balloon"
    if not folder.is_dir():
        pytest.skip("the photographs are not here")
    files = json.loads((folder / "instances_train.json").read_text())["images"]
    files = [file for file in files if 1.2 < file["width"] / file["height"] < 1.4][:3]
    results = narrow([folder / "images" / file["file_name"] for file in files])
    for file, result in zip(files, results, strict=True):
        height, width = file["height"], file["width"]
        assert result.image.shape == (height, width, 3)
        assert len(result)
        assert (result.boxes >= 0).all()
        assert (result.boxes <= [width, height] * 2).all()
        assert result.mask(0).shape == (height, width)
        assert result.picture(min_score=0).size == (width, height)


# Shapes of arrays --------------------------------------------------------------------------------


@given(
    st.integers(1, 5000), st.integers(1, 5000), st.sampled_from([(1333, 800), (512, 512), (64, 50)])
)
@settings(max_examples=200)
def test_images_of_all_sizes_lie_in_few_shapes(height, width, scale):
    seen = rescaled_size((height, width), scale)
    rows, columns = array_shape(seen, scale)
    assert rows >= seen[0] and columns >= seen[1]  # noqa: PT018
    assert rows % 32 == columns % 32 == 0
    assert max(rows, columns) < max(scale) + 32


def test_a_few_shapes_serve_all_aspects_and_pad_little():
    aspects = np.geomspace(1 / 4, 4, 400)
    seen = [rescaled_size((1000, round(1000 * aspect)), (1333, 800)) for aspect in aspects]
    shapes = [array_shape(size, (1333, 800)) for size in seen]
    assert len(set(shapes)) <= 9
    used = [np.prod(size) / np.prod(shape) for size, shape in zip(seen, shapes, strict=True)]
    assert min(used) > 0.5
    common = [(480, 640), (640, 480), (427, 640), (640, 427), (375, 500), (720, 1280)]
    for size in common:
        size = rescaled_size(size, (1333, 800))
        assert np.prod(size) / np.prod(array_shape(size, (1333, 800))) > 0.9
