import numpy as np
import pytest

from gcnet_jax.errors import InputError
from gcnet_jax.tasks.detection.objects import ImageObjects, joined_objects, padded_objects

SIZE, ARRAY = (20, 30), (32, 32)


def image(boxes=((1, 2, 10, 12),), classes=(0,), masks=None, name="cat.jpg", size=SIZE):
    packed = None if masks is None else np.packbits(masks, axis=-1)
    return ImageObjects(name, size, np.array(boxes, np.float32), np.array(classes), packed)


def padded(*images, capacity=3):
    joined = joined_objects(images, num_classes=2, array_size=ARRAY)
    return padded_objects(joined, capacity)


def test_objects_fill_the_first_rows_and_masks_the_top_left():
    nothing = image(np.zeros((0, 4)), np.zeros(0, int), np.zeros((0, *SIZE), bool))
    objects = padded(image(masks=np.ones((1, *SIZE), bool)), nothing)
    assert objects["valid"].tolist() == [[True, False, False], [False, False, False]]
    assert objects["boxes"][0, 0].tolist() == [1, 2, 10, 12]
    assert objects["masks"].shape == (2, 3, ARRAY[0], ARRAY[1] // 8)
    masks = np.unpackbits(objects["masks"], axis=-1)
    assert masks[0, 0, : SIZE[0], : SIZE[1]].all()
    assert masks.sum() == SIZE[0] * SIZE[1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            image([(0, 0, 5, 5)] * 4, [0] * 4),
            "an image has 4 objects, and there is room for 3; expected a capacity",
        ),
        (image([(1, 2, 31, 12)]), r"box 0 of image cat.jpg is \[1.0, 2.0, 31.0, 12.0\]; expected"),
        (
            image([(-1, 2, 3, 12)]),
            "box 0 of image cat.jpg .* within the image's 20 rows and 30 col",
        ),
        (image([(1, 2, 1, 12)]), "box 0 of image cat.jpg .* has no area"),
        (image([(1, np.nan, 5, 12)]), "box 0 of image cat.jpg .* has no area"),
        (image(classes=[2]), "object 0 of image cat.jpg is of class 2; expected 0 to 1"),
        (image(classes=[0, 1]), r"image cat.jpg has boxes of shape \(1, 4\) and classes of shape"),
        (
            image(masks=np.ones((1, 5, 5), bool)),
            r"masks of uint8 of shape \(1, 5, 1\); expected .* \(1, 20, 4\)",
        ),
        (image(classes=[0.5]), "image cat.jpg has classes of float64; expected whole numbers"),
        (image(size=(20, 40)), "image cat.jpg is 20x40; expected no more than the array's 32x32"),
    ],
)
def test_what_would_be_cut_or_learnt_wrongly_is_refused_by_the_image(given, message):
    with pytest.raises(InputError, match=message):
        padded(given)


def test_masks_are_of_all_images_or_of_none():
    with pytest.raises(InputError, match="image b has no masks, but others of its batch have"):
        padded(image(masks=np.ones((1, *SIZE), bool)), image(name="b"))
    assert "masks" not in padded(image(), image())


def test_there_is_room_for_an_object_also_where_there_is_none():
    with pytest.raises(InputError, match="the capacity is 0; expected 1 or more"):
        padded(image(np.zeros((0, 4)), np.zeros(0, int)), capacity=0)
