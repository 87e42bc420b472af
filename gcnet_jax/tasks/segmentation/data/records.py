"""What one example holds: not yet stored, stored, and decoded.

Every data set is stored as the same records, so that pipelines need not know which set they read:
an image, a label of class indices, a name for messages and output files, and the size, known
without decoding anything.
"""

from typing import NamedTuple, TypedDict

import numpy as np
from jaxtyping import Int32, UInt8

from gcnet_jax.data.image_coding import decode_as_stored, decode_rgb
from gcnet_jax.errors import InputError


class LoadedExample(NamedTuple):
    """One example in memory.

    Attributes:
        encoded: the bytes of the image file.
        image: its pixels, RGB.
        label: the class index of each pixel, 255 where ignored.
    """

    encoded: bytes
    image: UInt8[np.ndarray, "h w 3"]
    label: UInt8[np.ndarray, "h w"]


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


def decode(record: Record) -> Sample:
    """Decodes the image and the label of a record.

    Raises:
        InputError: if either cannot be decoded or their sizes differ; the message names the record.
    """
    name = record["name"].decode(errors="backslashreplace")
    image = decode_rgb(record["image"], f"the image of record '{name}'")
    what = f"the label of record '{name}'"
    label = decode_as_stored(record["label"], what)
    if label.ndim != 2 or label.dtype != np.uint8 or label.shape != image.shape[:2]:
        raise InputError(
            f"record '{name}': the label is {label.dtype} of shape {label.shape}, "
            f"expected uint8 of the image's shape {image.shape[:2]}"
        )
    return {"image": image, "label": label}
