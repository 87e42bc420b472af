"""Between the bytes of image files and arrays of pixels.

Besides the formats that people have there are the plainest image files, binary PPM and PGM: a line
of header, then the RGB or grey bytes row by row, which are the array itself and need no decoding.
"""

import math
import re
from collections.abc import Mapping
from types import MappingProxyType

import cv2
import numpy as np
from jaxtyping import UInt8, UInt16

from gcnet_jax.errors import InputError

_PLAIN_HEADER = re.compile(rb"P([56])\n(\d{1,9}) (\d{1,9})\n255\n")

# Libraries would try all that they know, and hand PostScript to a program that runs it.
FORMATS: Mapping[str, bytes] = MappingProxyType(
    {
        "BMP": rb"BM",
        "GIF": rb"GIF8[79]a",
        "JPEG": rb"\xff\xd8\xff",
        "PNG": rb"\x89PNG\r\n\x1a\n",
        "PPM": rb"P[1-6]\s",
        "TIFF": rb"II[*+]\0|MM\0[*+]",
        "WEBP": rb"RIFF.{4}WEBP",
    }
)
"""The formats that images are read from, with how their files begin: of photographs and masks."""

_BEGINNING = re.compile(b"|".join(FORMATS.values()), re.DOTALL)


# Encoding -----------------------------------------------------------------------------------------


def encode_png(
    pixels: UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"] | UInt8[np.ndarray, "h w 3"],
) -> bytes:
    """Encodes a single-channel array of 8 or 16 bits, or an RGB array, as PNG."""
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", pixels)[1].tobytes()


def encode_plain(pixels: UInt8[np.ndarray, "h w"] | UInt8[np.ndarray, "h w 3"]) -> bytes:
    """Encodes a single-channel array as binary PGM, an RGB array as binary PPM."""
    kind = b"P6" if pixels.ndim == 3 else b"P5"
    return b"%b\n%d %d\n255\n" % (kind, pixels.shape[1], pixels.shape[0]) + pixels.tobytes()


# Decoding -----------------------------------------------------------------------------------------


def decode_rgb(encoded: bytes, what: str) -> UInt8[np.ndarray, "h w 3"]:
    """Decodes the bytes of an image file to RGB, turned as it is displayed.

    Grey images become three equal channels.

    Args:
        encoded: the bytes of the file.
        what: how to call these bytes in an error message.

    Returns:
        The pixels; a view of the bytes where they are a binary PPM such as ours.

    Raises:
        InputError: if the bytes are no image.
    """
    pixels = _decode_plain(encoded, what)
    if pixels is not None and pixels.ndim == 3:
        return pixels
    return cv2.cvtColor(_decode(encoded, cv2.IMREAD_COLOR, what), cv2.COLOR_BGR2RGB)


def decode_as_stored(encoded: bytes, what: str) -> np.ndarray:
    """Decodes the bytes of an image file with as many channels and bits as it has.

    Args:
        encoded: the bytes of the file.
        what: how to call these bytes in an error message.

    Returns:
        The pixels, of RGB in OpenCV's order BGR unless the file is a binary PPM such as ours.

    Raises:
        InputError: if the bytes are no image.
    """
    pixels = _decode_plain(encoded, what)
    return _decode(encoded, cv2.IMREAD_UNCHANGED, what) if pixels is None else pixels


def _decode_plain(encoded: bytes, what: str) -> np.ndarray | None:
    """Returns the pixels of a PPM or PGM with a header like ours; None for any other file."""
    header = _PLAIN_HEADER.match(encoded)
    if header is None:
        return None
    width, height = int(header[2]), int(header[3])
    shape = (height, width, 3) if header[1] == b"6" else (height, width)
    pixels = np.frombuffer(encoded, np.uint8, offset=header.end())
    if pixels.size != math.prod(shape):
        raise InputError(
            f"{what} cannot be decoded: expected {math.prod(shape)} bytes of pixels, "
            f"found {pixels.size}"
        )
    return pixels.reshape(shape)


def _decode(encoded: bytes, mode: int, what: str) -> np.ndarray:
    if not _BEGINNING.match(encoded):
        raise InputError(
            f"{what} cannot be decoded: expected the bytes of a {one_of_the_formats()}"
        )
    # OpenCV reports bad input either way: None for most, an exception for some (empty buffers).
    try:
        pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), mode)
    except cv2.error as error:
        raise InputError(f"{what} cannot be decoded: {error}") from error
    if pixels is None:
        raise InputError(f"{what} cannot be decoded: expected the bytes of a whole image file")
    return pixels


def one_of_the_formats() -> str:
    """Returns the formats in words, for a message."""
    *others, last = FORMATS
    return f"{', '.join(others)} or {last} file"
