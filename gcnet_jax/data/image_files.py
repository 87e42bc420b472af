"""Reading the image files that people have: whole, within a bound on their size, and upright.

Cameras store the pixels as the sensor lies and note beside them (EXIF) how to turn them. Images are
always handed out as they are displayed, with how that differs from what is stored.
"""

import contextlib
import io
import threading
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from etils import epath
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from gcnet_jax.config import MAX_IMAGE_PIXELS, MOST_IMAGE_PIXELS
from gcnet_jax.data.image_coding import FORMATS, decode_rgb, one_of_the_formats
from gcnet_jax.errors import InputError
from gcnet_jax.files import open_regular, read_regular

_LONGEST_EDGE = 1_000_000  # of what libpng decodes

_ORIENTATION = 0x0112  # the tag of EXIF
_PILLOW_LIMIT = threading.Lock()


class ImageFile(NamedTuple):
    """An image file in memory.

    Attributes:
        encoded: the bytes of the file.
        stored: the image in the file's own mode, as it is stored.
        orientation: how it is turned to be displayed, as EXIF numbers it: 1 not at all, 2 mirrored
            left to right, 3 by 180 degrees, 4 upside down, 5 mirrored at the diagonal, 6 by 90
            degrees clockwise, 7 mirrored at the other diagonal, 8 by 90 degrees counterclockwise.
    """

    encoded: bytes
    stored: Image.Image
    orientation: int


def read_image_file(path: epath.Path, *, max_pixels: int = MAX_IMAGE_PIXELS) -> ImageFile:
    """Reads an image file whole and verifies that every pixel of it can be decoded.

    Args:
        path: of the file.
        max_pixels: most pixels that are decoded, for a file of kilobytes can say that it is larger
            than the memory.

    Raises:
        InputError: if the file is missing, truncated, no regular file, too large, or no image of a
          format that is read; the message names the file.
    """
    try:
        encoded = read_regular(path)
    except FileNotFoundError as error:
        raise InputError(f"there is no image {path}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error})") from error
    return _verified(encoded, str(path), max_pixels)


def _verified(encoded: bytes, what: str, max_pixels: int) -> ImageFile:
    """Opens the bytes of an image file and decodes every pixel, as `read_image_file` does.

    Pillow does the checking: OpenCV fills the missing part of a truncated JPEG with grey and says
    nothing.
    """
    try:
        image = _opened(encoded)
        _check_size(what, image, max_pixels)
        # Pillow turns TIFF files while it loads them, and then forgets that it did.
        orientation = image.getexif().get(_ORIENTATION, 1) if image.format == "TIFF" else None
        image.load()
        if orientation is None:
            orientation = image.getexif().get(_ORIENTATION, 1)
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(
            f"{what}: not an image, or cut off in its header; expected a {one_of_the_formats()}"
        ) from error
    # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more.
    except Exception as error:
        raise InputError(f"{what}: not a whole, readable image ({error})") from error
    return ImageFile(encoded, image, orientation if orientation in range(1, 9) else 1)


class DisplayedImage(NamedTuple):
    """An image in memory, turned as it is displayed.

    Attributes:
        encoded: the bytes of the file.
        pixels: RGB.
        orientation: how they were turned for it, see `ImageFile`.
    """

    encoded: bytes
    pixels: UInt8[np.ndarray, "h w 3"]
    orientation: int


def read_displayed(path: epath.Path, *, max_pixels: int = MAX_IMAGE_PIXELS) -> DisplayedImage:
    """Reads an image file and turns it as it is displayed.

    Raises:
        InputError: see `read_image_file`; or what the file says of how to turn it is damaged.
    """
    return _as_displayed(read_image_file(path, max_pixels=max_pixels), str(path))


def displayed(encoded: bytes, what: str, *, max_pixels: int = MAX_IMAGE_PIXELS) -> DisplayedImage:
    """Turns an image file in memory as it is displayed.

    Args:
        encoded: the bytes of the file.
        what: how to call them in a message.
        max_pixels: most pixels that are decoded.

    Raises:
        InputError: see `read_displayed`.
    """
    return _as_displayed(_verified(encoded, what, max_pixels), what)


def _as_displayed(file: ImageFile, what: str) -> DisplayedImage:
    encoded, stored, orientation = file
    pixels = decode_rgb(encoded, what)
    is_turned = orientation >= 5 and stored.format != "TIFF"  # which Pillow has turned
    if pixels.shape[:2] != (stored.size if is_turned else stored.size[::-1]):
        raise InputError(
            f"{what}: its EXIF data is damaged, and programs differ in how to turn it; save it "
            "without or anew"
        )
    return DisplayedImage(encoded, pixels, orientation)


def read_rgb(
    path: epath.PathLike, *, max_pixels: int = MAX_IMAGE_PIXELS
) -> UInt8[np.ndarray, "h w 3"]:
    """Reads an image file as RGB, turned as it is displayed.

    Args:
        path: of the file.
        max_pixels: most pixels that are decoded.

    Raises:
        InputError: if the file is missing, truncated, no regular file, too large, or no image of a
          format that is read; the message names the file.
    """
    return read_displayed(epath.Path(path), max_pixels=max_pixels).pixels


def displayed_pixels(image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    """Returns the pixels of a Pillow image as RGB, turned as it is displayed.

    Of 16 bits the upper eight count, and transparency does not, as when a file is read.

    Raises:
        InputError: its pixels are of 32 bits, of which nobody can tell what is white.
    """
    try:
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I;16"):
            grey = (np.asarray(upright).astype(np.uint16) >> 8).astype(np.uint8)
            return np.repeat(grey[..., None], 3, axis=-1)
        if upright.mode not in ("I", "F"):
            return np.asarray(upright.convert("RGB"))
    except Exception as error:  # Pillow decodes only now, and its decoders raise whatever they like
        raise InputError(f"the image cannot be decoded ({error})") from error
    raise InputError(f"the image has the mode {upright.mode}; expected 8 or 16 bits a channel")


def displayed_size(image: Image.Image) -> tuple[int, int]:
    """Returns (height, width) of a Pillow image as it is displayed; nothing of it is decoded."""
    is_turned = _orientation_in_header(image) >= 5 and image.format != "TIFF"  # turned by Pillow
    return image.size if is_turned else (image.height, image.width)


def _orientation_in_header(image: Image.Image) -> int:
    # Pillow would decode a PNG to look for EXIF data behind its pixels.
    has_header = image.format != "PNG" or "exif" in image.info
    orientation = image.getexif().get(_ORIENTATION, 1) if has_header else 1
    return orientation if orientation in range(1, 9) else 1


class ImageHeader(NamedTuple):
    """What an image file says of itself; whoever reads a damaged file may find something else.

    Attributes:
        size: (height, width) in pixels as it is displayed.
        orientation: how it is turned for it, see `ImageFile`.
    """

    size: tuple[int, int]
    orientation: int


def read_header(path: epath.PathLike) -> ImageHeader | None:
    """Reads what an image file says of itself.

    Returns:
        None where it says nothing, or there is no image to read.
    """
    try:
        with open_regular(path) as file:
            with any_number_of_pixels():
                image = Image.open(file, formats=tuple(FORMATS))
            return ImageHeader(displayed_size(image), _orientation_in_header(image))
    except Exception:  # it is named when the image is read
        return None


def read_displayed_size(path: epath.PathLike) -> tuple[int, int] | None:
    """Returns the (height, width) that an image file says it has, as it is displayed.

    Whoever reads the image may find another, in a damaged file.

    Returns:
        None where it says nothing, or there is no image to read.
    """
    header = read_header(path)
    return None if header is None else header.size


def said_size(encoded: bytes) -> tuple[int, int] | None:
    """Returns the (height, width) that an image file in memory says it has, if it says any."""
    try:
        return displayed_size(_opened(encoded))
    except Exception:  # it is named when the image is decoded
        return None


@contextlib.contextmanager
def any_number_of_pixels() -> Iterator[None]:
    """Lets Pillow read headers of any size; it has one limit for the whole process."""
    with _PILLOW_LIMIT:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _opened(encoded: bytes) -> Image.Image:
    with any_number_of_pixels():
        return Image.open(io.BytesIO(encoded), formats=tuple(FORMATS))


def _check_size(what: str, image: Image.Image, max_pixels: int) -> None:
    pixels = image.width * image.height
    if pixels > MOST_IMAGE_PIXELS or max(image.size) > _LONGEST_EDGE:
        raise InputError(
            f"{what}: {image.width}x{image.height} are {pixels:,} pixels; at most "
            f"{MOST_IMAGE_PIXELS:,}, and {_LONGEST_EDGE:,} an edge, can be decoded: cut it in parts"
        )
    if pixels > max_pixels:
        raise InputError(
            f"{what}: {image.width}x{image.height} are {pixels:,} pixels, more than the limit of "
            f"{max_pixels:,}; to take it all the same, set max_image_pixels={pixels}, an option of "
            "prepare_dataset and, as --config.data.max_image_pixels, a key of configs"
        )
