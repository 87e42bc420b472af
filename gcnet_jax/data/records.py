"""What one stored example holds, and the way between encoded bytes and arrays.

Every data set is stored as the same records, so that pipelines need not know which set they read:
an image, a label of class indices, a name for messages and output files, and the size, known
without decoding anything.

Pixels are stored in one of two ways. ``as_found`` keeps the bytes of the image file and makes the
label a PNG: small, but decoding 1024x2048 pixels of PNG takes tens of milliseconds. With
``uncompressed`` both are the plainest image files there are, binary PPM and PGM: a line of header,
then the RGB or grey bytes row by row, which are the array itself and need no decoding.
"""

import math
import re
import zlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypedDict, cast

import cv2
import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Int32, UInt8

from gcnet_jax.config import Pixels
from gcnet_jax.errors import InputError

FEATURES = tfds.features.FeaturesDict(
    {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "label": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
        "name": tfds.features.Text(),
        "size": tfds.features.Tensor(shape=(2,), dtype=np.int32),
    }
)
"""How TFDS describes a record."""

WRITER_OPTIONS: Mapping[Pixels, str] = MappingProxyType(
    # Plain pixels must not be compressed by array_record either: to undo that takes longer than
    # to read the bytes it saves.
    {"as_found": "group_size:1", "uncompressed": "group_size:1,uncompressed"}
)
"""Options of array_record's writer."""

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


class Record(TypedDict):
    """One stored example, still encoded.

    Attributes:
        image: bytes of an image file: PNG, JPEG or whatever OpenCV reads, or binary PPM.
        label: bytes of a single-channel PNG or PGM of class indices, 255 where ignored.
        name: UTF-8 name of the example, unique within its split.
        size: height and width of both images in pixels.
    """

    image: bytes
    label: bytes
    name: bytes
    size: Int32[np.ndarray, "2"]


class Sample(TypedDict):
    """One decoded example: an RGB image and the class index of each of its pixels.

    Uncompressed pixels are views of the record's bytes, which cannot be written to.
    """

    image: UInt8[np.ndarray, "h w 3"]
    label: UInt8[np.ndarray, "h w"]


# Encoding ----------------------------------------------------------------------------------------


def serialize(
    name: str,
    encoded: bytes,
    image: UInt8[np.ndarray, "h w 3"],
    label: UInt8[np.ndarray, "h w"],
    pixels: Pixels,
) -> bytes:
    """Returns what a record file holds for one example.

    Args:
        name: the example's name.
        encoded: the bytes of its image file.
        image: the pixels of that file.
        label: the class index of each pixel.
        pixels: how to store image and label.
    """
    as_found = pixels == "as_found"
    # Bytes rather than arrays are also what keeps TensorFlow out: TFDS encodes arrays with it.
    return FEATURES.serialize_example(
        {
            "image": encoded if as_found else encode_plain(image),
            "label": encode_png(label) if as_found else encode_plain(label),
            "name": name,
            "size": np.array(label.shape, np.int32),
        }
    )


def identity(serialized: bytes) -> int:
    """A number that tells a stored record from others, whichever file they lie in.

    It is made of the length and of at most 65,536 bytes, spread evenly: pixels that are stored
    uncompressed have megabytes. That bytes are still what was written, array_record's own checksum
    says.
    """
    step = len(serialized) // 65_536 + 1
    return zlib.crc32(serialized[::step], len(serialized))


def encode_png(pixels: UInt8[np.ndarray, "h w"] | UInt8[np.ndarray, "h w 3"]) -> bytes:
    """Encodes a single-channel or RGB array as PNG."""
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", pixels)[1].tobytes()


def encode_plain(pixels: UInt8[np.ndarray, "h w"] | UInt8[np.ndarray, "h w 3"]) -> bytes:
    """Encodes a single-channel array as binary PGM, an RGB array as binary PPM."""
    kind = b"P6" if pixels.ndim == 3 else b"P5"
    return b"%b\n%d %d\n255\n" % (kind, pixels.shape[1], pixels.shape[0]) + pixels.tobytes()


# Decoding ----------------------------------------------------------------------------------------


def deserialize(serialized: bytes) -> Record:
    """Returns the record that `serialize` has made these bytes of."""
    still_encoded = tfds.decode.SkipDecoding()
    decoders = {"image": still_encoded, "label": still_encoded}
    return cast(Record, FEATURES.deserialize_example_np(serialized, decoders=decoders))


def decode(record: Record) -> Sample:
    """Decodes the image and the label of a record.

    Raises:
        InputError: if either cannot be decoded or their sizes differ; the message names the record.
    """
    name = record["name"].decode(errors="backslashreplace")
    image = decode_rgb(record["image"], f"the image of record '{name}'")
    what = f"the label of record '{name}'"
    label = _decode_plain(record["label"], what)
    if label is None:
        label = _decode(record["label"], cv2.IMREAD_UNCHANGED, what)
    if label.ndim != 2 or label.dtype != np.uint8 or label.shape != image.shape[:2]:
        raise InputError(
            f"record '{name}': the label is {label.dtype} of shape {label.shape}, "
            f"expected uint8 of the image's shape {image.shape[:2]}"
        )
    return {"image": image, "label": label}


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


def _decode_plain(encoded: bytes, what: str) -> np.ndarray | None:
    """The pixels of a PPM or PGM with a header like ours; None for any other file."""
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
