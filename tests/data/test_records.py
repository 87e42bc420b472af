import io
import os
import socket

import cv2
import numpy as np
import pytest
from etils import epath
from hypothesis import given
from hypothesis import strategies as st
from PIL import EpsImagePlugin, Image

from gcnet_jax.data import Record, decode
from gcnet_jax.data.image_files import read_image_file
from gcnet_jax.data.records import decode_rgb, encode_plain, encode_png
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


def test_uncompressed_pixels_are_files_that_others_read():
    bgr = cv2.imdecode(np.frombuffer(encode_plain(IMAGE), np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(bgr[..., ::-1], IMAGE)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(encode_plain(IMAGE)))), IMAGE)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(encode_plain(LABEL)))), LABEL)


def test_other_ppm_files_are_read_all_the_same():
    file = io.BytesIO()
    Image.fromarray(IMAGE).save(file, "PPM")
    with_comment = file.getvalue().replace(b"P6\n", b"P6\n# by hand\n")
    for encoded in (file.getvalue(), with_comment):
        np.testing.assert_array_equal(decode_rgb(encoded, "it"), IMAGE)
    grey = decode_rgb(encode_plain(LABEL), "it")
    np.testing.assert_array_equal(grey, np.repeat(LABEL[..., None], 3, axis=-1))


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

POSTSCRIPT = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 10 10
%%EndComments
showpage
%%EOF
"""


@pytest.mark.parametrize("format_", ["BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP", "MPO"])
def test_photographs_and_masks_of_all_these_formats_are_read(tmp_path, format_):
    path = epath.Path(tmp_path) / "image"
    Image.fromarray(IMAGE).save(path, format_)
    encoded, image, _ = read_image_file(path)
    assert image.size == (7, 5)
    assert decode_rgb(encoded, "it").shape == IMAGE.shape


def test_an_image_with_postscript_in_it_starts_no_program(tmp_path, monkeypatch):
    started = []

    def ghostscript(*args):
        started.append(args)
        return Image.new("RGB", (10, 10)).im

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", ghostscript)
    path = epath.Path(tmp_path) / "a.png"
    path.write_bytes(POSTSCRIPT)
    with pytest.raises(InputError, match=r"a\.png: not an image.*expected a BMP, .* WEBP file"):
        read_image_file(path)
    assert not started
    Image.open(path).load()  # the trap works: whoever tries all formats springs it
    assert started


@pytest.mark.parametrize("format_", ["EPS", "ICO", "JPEG2000", "TGA", "SGI", "PCX"])
@pytest.mark.parametrize("key", ["image", "label"])
def test_records_are_decoded_from_no_other_format(format_, key):
    file = io.BytesIO()
    Image.fromarray(IMAGE).save(file, format_)
    with pytest.raises(InputError, match=f"the {key} of record 'frame_1' cannot be decoded: .*BMP"):
        decode(record(**{key: file.getvalue()}))


def test_a_pipe_a_socket_and_a_device_are_no_images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the names of sockets are short
    os.mkfifo("pipe.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    (tmp_path / "folder.png").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.png")
        for name in ("pipe", "device", "folder", "socket"):
            with pytest.raises(InputError, match=rf"{name}\.png"):
                read_image_file(epath.Path(f"{name}.png"))
