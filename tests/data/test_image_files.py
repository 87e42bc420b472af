"""Image files of all formats, within the bound on their size and beyond it."""

import io
import os
import socket
import struct
import zlib

import cv2
import numpy as np
import pytest
from etils import epath
from PIL import EpsImagePlugin, Image

from gcnet_jax.data import read_rgb
from gcnet_jax.data.image_coding import decode_rgb, encode_plain
from gcnet_jax.data.image_files import (
    read_displayed,
    read_displayed_size,
    read_header,
    read_image_file,
)
from gcnet_jax.errors import InputError

IMAGE = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
GREY = np.random.default_rng(1).integers(0, 11, (5, 7), np.uint8)


def header_of_png(width, height):
    """A PNG that says its size and has no pixels: what is refused for its size is not decoded."""
    content = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    end = struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + content
        + struct.pack(">I", zlib.crc32(content))
        + end
    )


@pytest.mark.parametrize("size", [(16384, 16385), (30000, 10000), (268_436, 1000)])
def test_an_image_over_the_limit_is_named_with_the_way_round(tmp_path, size):
    (tmp_path / "x.png").write_bytes(header_of_png(*size))
    pixels = size[0] * size[1]
    message = (
        rf"x.png: {size[0]}x{size[1]} are {pixels:,} pixels, more than the limit of 268,435,456; "
        rf".*max_image_pixels={pixels}"
    )
    with pytest.raises(InputError, match=message):
        read_rgb(tmp_path / "x.png")


def test_the_limit_can_be_raised_over_that_of_pillow(tmp_path, recwarn):
    (tmp_path / "x.png").write_bytes(header_of_png(30000, 10000))
    with pytest.raises(
        InputError, match=r"x.png: not a whole, readable image \(image file is trun"
    ):
        read_image_file(epath.Path(tmp_path / "x.png"), max_pixels=300_000_000)
    assert not recwarn.list
    assert Image.MAX_IMAGE_PIXELS == 89_478_485  # other users of Pillow keep theirs


@pytest.mark.parametrize("size", [(40_000, 30_000), (1_000_001, 1)])
def test_what_cannot_be_decoded_at_all_is_refused_whatever_the_limit(tmp_path, size):
    (tmp_path / "x.png").write_bytes(header_of_png(*size))
    with pytest.raises(InputError, match=r"x.png: .* at most 1,073,741,824, and 1,000,000 an edge"):
        read_image_file(epath.Path(tmp_path / "x.png"), max_pixels=10**12)


# Formats ------------------------------------------------------------------------------------------


def test_uncompressed_pixels_are_files_that_others_read():
    bgr = cv2.imdecode(np.frombuffer(encode_plain(IMAGE), np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(bgr[..., ::-1], IMAGE)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(encode_plain(IMAGE)))), IMAGE)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(encode_plain(GREY)))), GREY)


def test_other_ppm_files_are_read_all_the_same():
    file = io.BytesIO()
    Image.fromarray(IMAGE).save(file, "PPM")
    with_comment = file.getvalue().replace(b"P6\n", b"P6\n# by hand\n")
    for encoded in (file.getvalue(), with_comment):
        np.testing.assert_array_equal(decode_rgb(encoded, "it"), IMAGE)
    grey = decode_rgb(encode_plain(GREY), "it")
    np.testing.assert_array_equal(grey, np.repeat(GREY[..., None], 3, axis=-1))


@pytest.mark.parametrize("format_", ["BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP", "MPO"])
def test_photographs_and_masks_of_all_these_formats_are_read(tmp_path, format_):
    path = epath.Path(tmp_path) / "image"
    Image.fromarray(IMAGE).save(path, format_)
    encoded, image, _ = read_image_file(path)
    assert image.size == (7, 5)
    assert decode_rgb(encoded, "it").shape == IMAGE.shape


POSTSCRIPT = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 10 10
%%EndComments
showpage
%%EOF
"""


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


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_of_a_header_is_that_of_the_pixels_however_they_are_turned(
    tmp_path, format_, orientation
):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "image"
    Image.new("RGB", (30, 20)).save(path, format_, exif=exif)
    pixels, found = read_displayed(epath.Path(path))[1:]
    assert read_displayed_size(path) == pixels.shape[:2]
    header = read_header(path)
    assert header == (pixels.shape[:2], found)
    assert found == orientation
