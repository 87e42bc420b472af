"""Which files are taken for label images, and as what values."""

import io
import itertools
import struct
import zlib

import numpy as np
import pytest
from etils import epath
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gcnet_jax.errors import InputError
from gcnet_jax.tasks.segmentation.data.sources.labels import LabelTable, read_label_image

AS_THEY_ARE = LabelTable({value: value for value in range(256)})


def read(path):
    return read_label_image(epath.Path(path), 1000, table=AS_THEY_ARE)


def png(values, bits, *, palette=None):
    """The bytes of a PNG of one channel, or of indices into a palette, with 1 to 8 bits."""
    height, width = values.shape
    row_bits = [f"{value:0{bits}b}" for value in range(1 << bits)]
    rows = b""
    for row in values:
        text = "".join(row_bits[value] for value in row)
        text += "0" * (-len(text) % 8)
        rows += b"\0" + bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))

    def chunk(kind, content):
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, bits, 3 if palette else 0, 0, 0, 0)
    chunks = chunk(b"IHDR", header)
    chunks += chunk(b"PLTE", bytes(palette)) if palette else b""
    return b"\x89PNG\r\n\x1a\n" + chunks + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@given(
    bits=st.sampled_from([1, 2, 4, 8]),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    seed=st.integers(0, 2**32 - 1),
    has_palette=st.booleans(),
)
def test_png_masks_of_any_number_of_bits_hold_the_values_that_are_stored(
    tmp_path_factory, bits, size, seed, has_palette
):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 1 << bits, size).astype(np.uint8)
    palette = rng.integers(0, 256, 3 << bits).tolist() if has_palette else None
    path = tmp_path_factory.mktemp("png") / "mask.png"
    path.write_bytes(png(values, bits, palette=palette))
    np.testing.assert_array_equal(read(path), values)


VALUES = np.arange(12, dtype=np.uint8).reshape(3, 4)


def palette_image(values, palette):
    image = Image.frombytes("P", (values.shape[1], values.shape[0]), values.tobytes())
    image.putpalette(palette)
    return image


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [("pgm", "grey"), *itertools.product(["bmp", "gif", "tif", "png"], ["grey", "palette"])],
)
def test_other_formats_without_loss_are_read_too(tmp_path, suffix, kind):
    image = Image.fromarray(VALUES)
    if kind == "palette":
        image = palette_image(VALUES, np.random.default_rng(0).integers(0, 256, 768).tolist())
    image.save(tmp_path / f"mask.{suffix}")
    np.testing.assert_array_equal(read(tmp_path / f"mask.{suffix}"), VALUES)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_tiff_masks_compressed_without_loss_are_read(tmp_path, compression):
    Image.fromarray(VALUES).save(tmp_path / "mask.tif", compression=compression)
    np.testing.assert_array_equal(read(tmp_path / "mask.tif"), VALUES)


def test_a_pgm_with_comments_and_one_in_plain_text_are_read(tmp_path):
    (tmp_path / "1.pgm").write_bytes(
        b"P5 # by hand\n4 3 # small\n# 8 bits\n255\n" + VALUES.tobytes()
    )
    (tmp_path / "2.pgm").write_text("P2\n4 3\n255\n" + " ".join(map(str, VALUES.ravel())))
    for name in ("1.pgm", "2.pgm"):
        np.testing.assert_array_equal(read(tmp_path / name), VALUES)


# What is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mask.jpg", "mask.png"])
def test_a_mask_in_jpeg_is_refused_whatever_it_is_called(tmp_path, name):
    Image.fromarray(np.kron(VALUES, np.ones((8, 8), np.uint8))).save(tmp_path / name, "JPEG")
    with pytest.raises(InputError, match=rf"{name}: the label is a JPEG file.*as in a PNG"):
        read(tmp_path / name)


def saved(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


def refused_files():
    """Files of one channel that Pillow reads, but not as the values that are stored."""
    grey = Image.fromarray(VALUES)
    two = palette_image(VALUES % 2, [0, 0, 0, 255, 255, 255])
    yield "a TIFF with JPEG", saved(grey, format="TIFF", compression="jpeg")
    yield "a TIFF where white is 0", saved(grey, format="TIFF", tiffinfo={262: 0})
    yield "a TIFF of one bit", saved(grey.convert("1"), format="TIFF")
    yield "a BMP of one bit", saved(grey.convert("1"), format="BMP")
    yield "a BMP of two colours", saved(two, format="BMP")
    yield "a PGM of two bits", b"P5\n4 3\n3\n" + (VALUES % 4).tobytes()
    yield "a PGM of two bits with 255", b"P5 # 255\n4 3\n3\n" + (VALUES % 4).tobytes()
    yield "a PBM", b"P4\n4 3\n" + bytes(3)
    yield "a GIF of two", saved(grey, format="GIF", save_all=True, append_images=[two])
    yield "a TIFF of two", saved(grey, format="TIFF", save_all=True, append_images=[two])


@pytest.mark.parametrize("content", [pytest.param(c, id=n) for n, c in refused_files()])
def test_what_pillow_does_not_read_as_it_is_stored_is_refused(tmp_path, content):
    (tmp_path / "mask").write_bytes(content)
    with pytest.raises(InputError, match=r"mask: the label is a .* file whose values cannot be"):
        read(tmp_path / "mask")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "I;16"])
def test_other_than_one_channel_of_bytes_is_refused(tmp_path, mode):
    Image.new(mode, (4, 3)).save(tmp_path / "mask.png")
    with pytest.raises(InputError, match=rf"mask.png: the label has mode {mode}; expected one"):
        read(tmp_path / "mask.png")
