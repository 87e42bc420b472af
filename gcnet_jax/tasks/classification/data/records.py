"""What one example holds: not yet stored, stored, and decoded."""

from typing import NamedTuple, TypedDict

import numpy as np
from jaxtyping import Int32, UInt8

from gcnet_jax.data import decode_rgb


class LoadedExample(NamedTuple):
    """One example in memory.

    Attributes:
        encoded: the bytes of the image file.
        image: its pixels, RGB.
        label: the index of its class.
    """

    encoded: bytes
    image: UInt8[np.ndarray, "h w 3"]
    label: int


class Record(TypedDict):
    """One stored example, still encoded.

    Attributes:
        image: bytes of an image file: PNG, JPEG or whatever OpenCV reads, or binary PPM.
        label: the index of its class.
        name: UTF-8 name of the example, unique within its split.
        size: height and width of the image in pixels.
    """

    image: bytes
    label: np.int64
    name: bytes
    size: Int32[np.ndarray, "2"]


class Sample(TypedDict):
    """One decoded example: an RGB image and the index of its class.

    Uncompressed pixels are a view of the record's bytes, which cannot be written to.
    """

    image: UInt8[np.ndarray, "h w 3"]
    label: int


def decode(record: Record) -> Sample:
    """Decodes the image of a record.

    Raises:
        InputError: if it cannot be decoded; the message names the record.
    """
    name = record["name"].decode(errors="backslashreplace")
    image = decode_rgb(record["image"], f"the image of record '{name}'")
    return {"image": image, "label": int(record["label"])}
