"""The transforms of ImageNet training and evaluation, as torchvision has them.

Images are resized as Pillow resizes them: bilinearly, and with antialiasing where they become
smaller. So does torchvision, with which the published ResNets were trained. OpenCV's bilinear
resizing, which is mmpretrain's default, takes four pixels however much an image shrinks. Images are
uint8 RGB throughout; normalisation happens later, on the device.
"""

import dataclasses
import math

import numpy as np
from jaxtyping import UInt8
from PIL import Image

RGB = UInt8[np.ndarray, "h w 3"]

CROP_TRIES = 10


@dataclasses.dataclass(frozen=True)
class CropBox:
    """A rectangle in pixels that lies within its image."""

    top: int
    left: int
    height: int
    width: int


def draw_crop(
    rng: np.random.Generator,
    size: tuple[int, int],
    scale_range: tuple[float, float],
    ratio_range: tuple[float, float],
) -> CropBox:
    """Draws a rectangle of a random share of the image's area and of random aspect.

    Up to ten are drawn, and the first that fits into the image is taken. If none does, it is the
    largest rectangle about the centre with the image's own aspect, or the nearest that is allowed.

    Args:
        rng: source of randomness.
        size: (height, width) of the image.
        scale_range: least and greatest share of the area.
        ratio_range: least and greatest width by height; drawn evenly in the logarithm.
    """
    height, width = size
    least, greatest = ratio_range
    for _ in range(CROP_TRIES):
        area = height * width * rng.uniform(*scale_range)
        ratio = math.exp(rng.uniform(math.log(least), math.log(greatest)))
        box_width = round(math.sqrt(area * ratio))
        box_height = round(math.sqrt(area / ratio))
        if 0 < box_width <= width and 0 < box_height <= height:
            top = int(rng.integers(height - box_height + 1))
            left = int(rng.integers(width - box_width + 1))
            return CropBox(top, left, box_height, box_width)
    box_height, box_width = height, width
    if width / height < least:
        box_height = min(height, max(1, round(width / least)))
    elif width / height > greatest:
        box_width = min(width, max(1, round(height * greatest)))
    return CropBox((height - box_height) // 2, (width - box_width) // 2, box_height, box_width)


def cropped(image: RGB, box: CropBox) -> RGB:
    """Returns the part of an image that lies in a rectangle."""
    return image[box.top : box.top + box.height, box.left : box.left + box.width]


def resized(image: RGB, size: tuple[int, int]) -> RGB:
    """Resizes to (height, width), bilinearly and with antialiasing."""
    if image.shape[:2] == size:
        return np.array(image)
    picture = Image.fromarray(np.ascontiguousarray(image))
    return np.array(picture.resize((size[1], size[0]), Image.Resampling.BILINEAR))


def mirrored(image: RGB) -> RGB:
    """Mirrors an image left to right."""
    return image[:, ::-1].copy()


def short_edge_size(size: tuple[int, int], short_edge: int) -> tuple[int, int]:
    """Returns the (height, width) of an image whose shorter edge is resized; fractions dropped."""
    height, width = size
    if height <= width:
        return short_edge, short_edge * width // height
    return short_edge * height // width, short_edge


def centre_box(size: tuple[int, int], crop_size: int) -> CropBox:
    """Returns the square about the centre of an image that is as large at least.

    Half pixels are rounded to even numbers, as Python and therefore the reference does.
    """
    height, width = size
    return CropBox(
        round((height - crop_size) / 2), round((width - crop_size) / 2), crop_size, crop_size
    )


def evaluation_crop(image: RGB, resize_size: int, crop_size: int) -> UInt8[np.ndarray, "c c 3"]:
    """Resizes the shorter edge of an image, and takes the square about its centre.

    Args:
        image: of any size.
        resize_size: length of the shorter edge.
        crop_size: edge of the square; not longer.
    """
    size = short_edge_size((image.shape[0], image.shape[1]), resize_size)
    return np.ascontiguousarray(cropped(resized(image, size), centre_box(size, crop_size)))


def evaluation_window(
    size: tuple[int, int], resize_size: int, crop_size: int
) -> tuple[float, float, float, float]:
    """The part of an image that `evaluation_crop` takes.

    Args:
        size: height and width of the image.
        resize_size: length of the shorter edge after resizing.
        crop_size: edge of the square about the centre; not longer.

    Returns:
        Left, top, right and bottom, in parts of the image's width and height.
    """
    height, width = short_edge_size(size, resize_size)
    box = centre_box((height, width), crop_size)
    bottom, right = box.top + box.height, box.left + box.width
    return box.left / width, box.top / height, right / width, bottom / height
