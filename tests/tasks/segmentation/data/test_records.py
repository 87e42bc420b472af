import io

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gcnet_jax.data.image_coding import encode_plain, encode_png
from gcnet_jax.errors import InputError
from gcnet_jax.tasks.segmentation.data import Record, decode

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


# Uncompressed pixels -----------------------------------------------------------------------------


@given(height=st.integers(1, 20), width=st.integers(1, 20), seed=st.integers(0, 2**32 - 1))
def test_uncompressed_pixels_are_views_of_the_bytes(height, width, seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    label = rng.integers(0, 256, (height, width), np.uint8)
    sample = decode(record(image=encode_plain(image), label=encode_plain(label)))
    np.testing.assert_array_equal(sample["image"], image)
    np.testing.assert_array_equal(sample["label"], label)
    for pixels in sample.values():
        assert pixels.flags.c_contiguous
        assert not pixels.flags.owndata
        assert not pixels.flags.writeable


@pytest.mark.parametrize("key", ["image", "label"])
@pytest.mark.parametrize("change", [-1, 1])
def test_uncompressed_pixels_of_another_number_are_refused(key, change):
    encoded = encode_plain(IMAGE if key == "image" else LABEL)
    encoded = encoded[:change] if change < 0 else encoded + b"0"
    number = 105 if key == "image" else 35
    message = f"the {key} of record 'frame_1' .* expected {number} bytes .*found {number + change}"
    with pytest.raises(InputError, match=message):
        decode(record(**{key: encoded}))


@pytest.mark.parametrize("size", [b"4294967296 4294967296", b"9" * 5000 + b" 1"])
def test_a_plain_header_of_absurd_numbers_is_refused(size):
    with pytest.raises(InputError, match="the image of record 'frame_1' cannot be decoded"):
        decode(record(image=b"P6\n%b\n255\n" % size))


# Files from strangers ----------------------------------------------------------------------------


@pytest.mark.parametrize("format_", ["EPS", "ICO", "JPEG2000", "TGA", "SGI", "PCX"])
@pytest.mark.parametrize("key", ["image", "label"])
def test_records_are_decoded_from_no_other_format(format_, key):
    file = io.BytesIO()
    Image.fromarray(IMAGE).save(file, format_)
    with pytest.raises(InputError, match=f"the {key} of record 'frame_1' cannot be decoded: .*BMP"):
        decode(record(**{key: file.getvalue()}))
