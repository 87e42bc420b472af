"""Image files within the bound on their size, and beyond it."""

import struct
import zlib

import numpy as np
import pytest
from etils import epath
from PIL import Image

from gcnet_jax.data import prepare_folder, read_rgb, split_size
from gcnet_jax.data.image_files import read_image_file
from gcnet_jax.errors import InputError


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


def test_preparing_keeps_the_limit_for_images_and_masks(tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.eye(20, dtype=np.uint8)).save(tmp_path / folder / "x.png")
    (tmp_path / "classes.csv").write_text("name\nrest\nline\n")

    def prepared(limit):
        prepare_folder(
            "lines",
            tmp_path / "data",
            tmp_path,
            images={"train": ["images/*.png"]},
            masks={"train": ["masks/*.png"]},
            classes=tmp_path / "classes.csv",
            max_image_pixels=limit,
        )

    with pytest.raises(InputError, match=r"images/x.png: 20x20 are 400 pixels, .* limit of 399"):
        prepared(399)
    Image.new("L", (20, 21)).save(tmp_path / "masks" / "x.png")
    with pytest.raises(InputError, match=r"masks/x.png: 20x21 are 420 pixels, .* limit of 400"):
        prepared(400)
    Image.fromarray(np.eye(20, dtype=np.uint8)).save(tmp_path / "masks" / "x.png")
    prepared(400)
    assert split_size("lines", tmp_path / "data", "train") == 1
