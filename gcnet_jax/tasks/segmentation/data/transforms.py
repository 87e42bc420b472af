"""The training transforms of mmsegmentation 1.2.2 on single images.

Each transform comes in two halves: a function that draws its random parameters, and a pure
function of the image, the label and those parameters. Images are uint8 RGB throughout and labels
uint8; normalisation happens later, on the device.
"""

import dataclasses

import cv2
import numpy as np
from jaxtyping import Int, UInt8

from gcnet_jax.data import nearest_pixels
from gcnet_jax.tasks.segmentation.data.catalog import IGNORE_LABEL

Image = UInt8[np.ndarray, "h w 3"]
Label = UInt8[np.ndarray, "h w"]

BRIGHTNESS_DELTA = 32.0
CONTRAST_RANGE = (0.5, 1.5)
SATURATION_RANGE = (0.5, 1.5)
HUE_DELTA = 18
CROP_TRIES = 10
_IDENTITY = np.arange(256, dtype=np.uint8)


# Resize and crop ---------------------------------------------------------------------------------


def draw_scale(
    rng: np.random.Generator, base_scale: tuple[int, int], scale_range: tuple[float, float]
) -> tuple[int, int]:
    """Draws a bound on the image size: `base_scale` times one ratio out of `scale_range`.

    Args:
        rng: source of randomness.
        base_scale: (long edge, short edge) in pixels.
        scale_range: least and greatest ratio.

    Returns:
        (long edge, short edge) in pixels, fractions dropped.
    """
    ratio = rng.uniform(*scale_range)
    return int(base_scale[0] * ratio), int(base_scale[1] * ratio)


@dataclasses.dataclass(frozen=True)
class CropBox:
    """A rectangle in pixels; it may reach beyond the image and then ends with it."""

    top: int
    left: int
    height: int
    width: int


def draw_crop(
    rng: np.random.Generator,
    label: Label,
    size: tuple[int, int],
    crop_size: tuple[int, int],
    cat_max_ratio: float,
) -> CropBox:
    """Draws a crop of the resized label in which no class takes too large a share.

    Up to ten boxes are examined, and the first is taken that holds at least two classes and gives
    none of them `cat_max_ratio` or more of the pixels that are not ignored. If none does, an
    eleventh is taken as it comes.

    Args:
        rng: source of randomness.
        label: the label before it is resized.
        size: (height, width) of the label to crop, at least one pixel large.
        crop_size: (height, width) of the box.
        cat_max_ratio: bound on the share of the largest class; 1 accepts any box.
    """
    box = _draw_box(rng, size, crop_size)
    if cat_max_ratio < 1:
        for _ in range(CROP_TRIES):
            if _is_varied(_resize_label(label, size, box), cat_max_ratio):
                break
            box = _draw_box(rng, size, crop_size)
    return box


def _draw_box(
    rng: np.random.Generator, size: tuple[int, int], crop_size: tuple[int, int]
) -> CropBox:
    height, width = crop_size
    return CropBox(
        top=int(rng.integers(max(size[0] - height, 0) + 1)),
        left=int(rng.integers(max(size[1] - width, 0) + 1)),
        height=height,
        width=width,
    )


def _is_varied(label: Label, cat_max_ratio: float) -> bool:
    counts = cv2.calcHist([label], [0], None, [256], [0, 256])[:IGNORE_LABEL].astype(np.int64)
    return bool(np.count_nonzero(counts) > 1 and counts.max() < cat_max_ratio * counts.sum())


def resize(
    image: Image, label: Label, size: tuple[int, int], box: CropBox | None = None
) -> tuple[Image, Label]:
    """Resizes to (height, width): the image bilinearly, the label to the nearest pixel.

    Args:
        image: the image.
        label: its label.
        size: (height, width) of the whole result.
        box: the part of the result to return, and to compute little more than. Its pixels are
          those of the whole result; `None` stands for all of it.
    """
    box = box or CropBox(0, 0, *size)
    return _resize_image(image, size, box), _resize_label(label, size, box)


def _resize_image(image: Image, size: tuple[int, int], box: CropBox) -> Image:
    # OpenCV computes where a pixel comes from in floating point, counting from the top left. Hence
    # what is left out at the bottom and right changes no pixel, but to start elsewhere would. The
    # factors are given as OpenCV derives them from the sizes of whole images.
    bottom, right = min(box.top + box.height, size[0]), min(box.left + box.width, size[1])
    fy, fx = size[0] / image.shape[0], size[1] / image.shape[1]
    # The last pixel lies between two of the source, of which the second comes before these ends.
    part = image[: int(bottom / fy) + 2, : int(right / fx) + 2]
    if (round(part.shape[0] * fy), round(part.shape[1] * fx)) == part.shape[:2]:
        part = image  # for OpenCV takes equal sizes, however close to 1 the factors, as a copy
    resized = cv2.resize(part, None, fx=fx, fy=fy, interpolation=cv2.INTER_LINEAR)
    # A copy, for the crop is not to keep all the rest in memory.
    return resized[box.top : bottom, box.left : right].copy()


def _resize_label(label: Label, size: tuple[int, int], box: CropBox) -> Label:
    rows = nearest_pixels(label.shape[0], size[0], box.top, box.height)
    columns = nearest_pixels(label.shape[1], size[1], box.left, box.width)
    # Rows are quick to gather and single bytes are not, therefore columns are made rows.
    part = cv2.transpose(label[rows, columns[0] : columns[-1] + 1])
    return cv2.transpose(part[columns - columns[0]])


# Flip and pad ------------------------------------------------------------------------------------


def flip(image: Image, label: Label) -> tuple[Image, Label]:
    """Mirrors the image and the label left to right."""
    return cv2.flip(image, 1), cv2.flip(label, 1)


def pad(image: Image, label: Label, size: tuple[int, int]) -> tuple[Image, Label]:
    """Extends both to (height, width) at the bottom and right: image by 0, label by 255.

    The reference pads after normalisation, which these images are still before. Whoever normalises
    them sets the padding to zero again, and needs the size from before for it.
    """
    height, width = label.shape
    if (height, width) == size:
        return image, label
    border = 0, size[0] - height, 0, size[1] - width
    return (
        cv2.copyMakeBorder(image, *border, cv2.BORDER_CONSTANT, value=(0, 0, 0)),
        cv2.copyMakeBorder(label, *border, cv2.BORDER_CONSTANT, value=(IGNORE_LABEL,)),
    )


# Photometric distortion --------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class PhotometricDistortion:
    """Changes to an image's colours, each `None` where it is not made.

    Attributes:
        brightness: added to every channel, in grey levels.
        contrast: factor on every channel.
        contrast_first: whether contrast comes before saturation and hue, or after.
        saturation: factor on the saturation.
        hue: added to the hue, in OpenCV's units of 2 degrees.
    """

    brightness: float | None = None
    contrast: float | None = None
    contrast_first: bool = True
    saturation: float | None = None
    hue: int | None = None


def draw_photometric_distortion(rng: np.random.Generator) -> PhotometricDistortion:
    """Draws a distortion; each of its changes is made with probability one half."""

    def chance() -> bool:
        return bool(rng.integers(2))

    return PhotometricDistortion(
        brightness=rng.uniform(-BRIGHTNESS_DELTA, BRIGHTNESS_DELTA) if chance() else None,
        contrast_first=chance(),
        contrast=rng.uniform(*CONTRAST_RANGE) if chance() else None,
        saturation=rng.uniform(*SATURATION_RANGE) if chance() else None,
        hue=int(rng.integers(-HUE_DELTA, HUE_DELTA)) if chance() else None,
    )


def distort_photometric(image: Image, distortion: PhotometricDistortion) -> Image:
    """Applies a distortion; as in the reference every step is clipped and cut to uint8 anew.

    Every step is a table of 256 bytes therefore, and steps on the same values become one table.
    Saturation and hue each keep their own way to HSV and back, whose rounding can be seen.
    """
    in_hsv = distortion.saturation is not None or distortion.hue is not None
    table = _IDENTITY
    if distortion.brightness is not None:
        table = _scale_and_shift(table, shift=distortion.brightness)
    if distortion.contrast is not None and (distortion.contrast_first or not in_hsv):
        table = _scale_and_shift(table, scale=distortion.contrast)
    if table is not _IDENTITY:
        image = cv2.LUT(image, table)
    if distortion.saturation is not None:
        image = _change_hsv(image, 1, _scale_and_shift(_IDENTITY, scale=distortion.saturation))
    if distortion.hue is not None:
        image = _change_hsv(image, 0, ((_IDENTITY.astype(np.int32) + distortion.hue) % 180))
    if distortion.contrast is not None and not distortion.contrast_first and in_hsv:
        image = cv2.LUT(image, _scale_and_shift(_IDENTITY, scale=distortion.contrast))
    return image


def _change_hsv(image: Image, channel: int, table: Int[np.ndarray, "256"]) -> Image:
    planes = list(cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2HSV)))
    planes[channel] = cv2.LUT(planes[channel], table.astype(np.uint8))
    return cv2.cvtColor(cv2.merge(planes), cv2.COLOR_HSV2RGB)


def _scale_and_shift(
    values: UInt8[np.ndarray, "256"], scale: float = 1.0, shift: float = 0.0
) -> UInt8[np.ndarray, "256"]:
    return np.clip(values.astype(np.float32) * scale + shift, 0, 255).astype(np.uint8)
