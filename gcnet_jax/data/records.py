"""What one stored example holds, and the way between encoded bytes and arrays.

Every builder of this library writes the same record, so that pipelines need not know which data
set they read: the image as it was found (PNG or JPEG), the label as a PNG of class indices, a name
for messages and output files, and the size, known without decoding anything.
"""

import io
from collections.abc import Iterable, Sequence
from typing import TypedDict, TypeVar

import cv2
import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from jaxtyping import Int32, UInt8
from PIL import Image, UnidentifiedImageError
from rich.console import Console
from rich.progress import track

from gcnet_jax.errors import InputError

T = TypeVar("T")


class Record(TypedDict):
    """One stored example, still encoded.

    Attributes:
        image: PNG or JPEG bytes.
        label: bytes of a single-channel PNG of class indices, 255 where ignored.
        name: UTF-8 name of the example, unique within its split.
        size: height and width of both images in pixels.
    """

    image: bytes
    label: bytes
    name: bytes
    size: Int32[np.ndarray, "2"]


class Sample(TypedDict):
    """One decoded example: an RGB image and the class index of each of its pixels."""

    image: UInt8[np.ndarray, "h w 3"]
    label: UInt8[np.ndarray, "h w"]


def dataset_info(builder: tfds.core.DatasetBuilder, description: str) -> tfds.core.DatasetInfo:
    """Returns the ``DatasetInfo`` of a builder that generates :func:`encoded_record` values.

    Examples keep the order in which they are generated (their keys must be increasing integers):
    training shuffles by itself, and evaluation and prediction then follow the order of the files.
    """
    return tfds.core.DatasetInfo(
        builder=builder,
        description=description,
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(None, None, 3)),
                "label": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
                "name": tfds.features.Text(),
                "size": tfds.features.Tensor(shape=(2,), dtype=np.int32),
            }
        ),
        disable_shuffling=True,
    )


def encoded_record(
    name: str, image: bytes, label: UInt8[np.ndarray, "h w"]
) -> dict[str, bytes | str | np.ndarray]:
    """Returns what a builder yields for one example whose image is already encoded.

    Handing TFDS bytes rather than arrays is also what keeps TensorFlow out: TFDS encodes arrays
    with it.
    """
    return {
        "image": image,
        "label": encode_png(label),
        "name": name,
        "size": np.array(label.shape, np.int32),
    }


def show_progress(items: Sequence[T], split: str) -> Iterable[T]:
    """Goes through what a builder makes the examples of a split from, with a bar on stderr."""
    return track(items, description=f"Preparing {split:5}", console=Console(stderr=True))


def encode_png(pixels: UInt8[np.ndarray, "h w"] | UInt8[np.ndarray, "h w 3"]) -> bytes:
    """Encodes a single-channel or RGB array as PNG."""
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", pixels)[1].tobytes()


def decode(record: Record) -> Sample:
    """Decodes the image and the label of a record.

    Raises:
        InputError: if either cannot be decoded or their sizes differ; the message names the record.
    """
    name = record["name"].decode()
    image = decode_rgb(record["image"], f"the image of record '{name}'")
    label = _decode(record["label"], cv2.IMREAD_UNCHANGED, f"the label of record '{name}'")
    if label.ndim != 2 or label.dtype != np.uint8 or label.shape != image.shape[:2]:
        raise InputError(
            f"record '{name}': the label is {label.dtype} of shape {label.shape}, "
            f"expected uint8 of the image's shape {image.shape[:2]}"
        )
    return {"image": image, "label": label}


def decode_rgb(encoded: bytes, what: str) -> UInt8[np.ndarray, "h w 3"]:
    """Decodes PNG or JPEG bytes to RGB; grey images become three equal channels.

    Args:
        encoded: the bytes of the file.
        what: how to call these bytes in an error message.

    Raises:
        InputError: if the bytes are no image.
    """
    return cv2.cvtColor(_decode(encoded, cv2.IMREAD_COLOR, what), cv2.COLOR_BGR2RGB)


def _decode(encoded: bytes, mode: int, what: str) -> np.ndarray:
    # OpenCV reports bad input either way: None for most, an exception for some (empty buffers).
    try:
        pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), mode)
    except cv2.error as error:
        raise InputError(f"{what} cannot be decoded: {error}") from error
    if pixels is None:
        raise InputError(f"{what} cannot be decoded: expected the bytes of a PNG or JPEG file")
    return pixels


def read_image_file(path: epath.Path) -> tuple[bytes, Image.Image]:
    """Reads an image file whole and verifies that every pixel of it can be decoded.

    Pillow does the checking: OpenCV fills the missing part of a truncated JPEG with grey and says
    nothing.

    Returns:
        The bytes of the file, and the decoded image in the file's own mode.

    Raises:
        InputError: if the file is missing, truncated, or no image; the message names the file.
    """
    try:
        encoded = path.read_bytes()
        image = Image.open(io.BytesIO(encoded))
        image.load()
    except UnidentifiedImageError as error:
        raise InputError(f"{path}: not an image, or cut off in its header") from error
    # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more.
    except Exception as error:
        raise InputError(f"{path}: not a whole, readable image ({error})") from error
    return encoded, image
