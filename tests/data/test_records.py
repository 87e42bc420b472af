import cv2
import numpy as np
import pytest

from gcnet_jax.data import Record, decode
from gcnet_jax.data.records import encode_png
from gcnet_jax.errors import InputError

IMAGE = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
LABEL = np.random.default_rng(1).integers(0, 11, (5, 7), np.uint8)


def record(**changes) -> Record:
    record = {
        "image": encode_png(IMAGE),
        "label": encode_png(LABEL),
        "name": b"frame_1",
        "size": np.array([5, 7], np.int32),
    }
    return record | changes  # pyright: ignore[reportReturnType]


def test_decoding_gives_back_rgb_and_class_indices():
    sample = decode(record())
    np.testing.assert_array_equal(sample["image"], IMAGE)
    np.testing.assert_array_equal(sample["label"], LABEL)
    assert sample["image"].dtype == sample["label"].dtype == np.uint8


def test_grey_images_become_three_equal_channels():
    image = decode(record(image=encode_png(LABEL)))["image"]
    np.testing.assert_array_equal(image, np.repeat(LABEL[..., None], 3, axis=-1))


@pytest.mark.parametrize("key", ["image", "label"])
@pytest.mark.parametrize("encoded", [b"", b"not an image", encode_png(LABEL)[:40]])
def test_corrupt_bytes_are_refused_by_the_name_of_the_record(key, encoded):
    with pytest.raises(InputError, match=f"the {key} of record 'frame_1' cannot be decoded"):
        decode(record(**{key: encoded}))


@pytest.mark.parametrize(
    "label",
    [np.zeros((4, 7), np.uint8), np.zeros((5, 7, 3), np.uint8), np.zeros((5, 7), np.uint16)],
    ids=["other size", "three channels", "16 bits"],
)
def test_a_label_that_does_not_fit_the_image_is_refused(label):
    encoded = cv2.imencode(".png", label)[1].tobytes()
    with pytest.raises(InputError, match=r"record 'frame_1'.*expected uint8.*\(5, 7\)"):
        decode(record(label=encoded))
