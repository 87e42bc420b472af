"""The training transforms of mmsegmentation 1.2.2 on single images.

Each transform comes in two halves: a function that draws its random parameters, and a pure
function of the image, the label and those parameters. Images are uint8 RGB throughout and labels
uint8; normalisation happens later, on the device.
"""

import dataclasses

import cv2
import numpy as np
from jaxtyping import UInt8

from gcnet_jax.data.catalog import IGNORE_LABEL

Image = UInt8[np.ndarray, "h w 3"]
Label = UInt8[np.ndarray, "h w"]

BRIGHTNESS_DELTA = 32.0
CONTRAST_RANGE = (0.5, 1.5)
SATURATION_RANGE = (0.5, 1.5)
HUE_DELTA = 18
CROP_TRIES = 10


# Resize ------------------------------------------------------------------------------------------


def draw_scale(
    rng: np.random.Generator, base_scale: tuple[int, int], scale_range: tuple[float, float]
) -> tuple[int, int]:
    """Draws a bound on the image size: ``base_scale`` times one ratio out of ``scale_range``.

    Args:
        rng: source of randomness.
        base_scale: (long edge, short edge) in pixels.
        scale_range: least and greatest ratio.

    Returns:
        (long edge, short edge) in pixels, fractions dropped.
    """
    ratio = rng.uniform(*scale_range)
    return int(base_scale[0] * ratio), int(base_scale[1] * ratio)


def rescaled_size(size: tuple[int, int], scale: tuple[int, int]) -> tuple[int, int]:
    """Returns the greatest size of the same aspect that fits a scale, as mmcv's ``rescale_size``.

    Args:
        size: (height, width) of the image.
        scale: bounds on the long and the short edge, in any order.

    Returns:
        (height, width), rounded half up.
    """
    factor = min(max(scale) / max(size), min(scale) / min(size))
    height, width = (int(length * factor + 0.5) for length in size)
    return height, width


def resize(image: Image, label: Label, size: tuple[int, int]) -> tuple[Image, Label]:
    """Resizes to (height, width): the image bilinearly, the label to the nearest pixel."""
    height, width = size
    return (
        cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR),
        cv2.resize(label, (width, height), interpolation=cv2.INTER_NEAREST),
    )


# Crop --------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class CropBox:
    """A rectangle in pixels; it may reach beyond the image and then ends with it."""

    top: int
    left: int
    height: int
    width: int


def draw_crop(
    rng: np.random.Generator, label: Label, crop_size: tuple[int, int], cat_max_ratio: float
) -> CropBox:
    """Draws a crop in which no class takes too large a share.

    Up to ten boxes are examined, and the first is taken that holds at least two classes and gives
    none of them ``cat_max_ratio`` or more of the pixels that are not ignored. If none does, an
    eleventh is taken as it comes.

    Args:
        rng: source of randomness.
        label: the label to crop, which is at least one pixel large.
        crop_size: (height, width) of the box.
        cat_max_ratio: bound on the share of the largest class; 1 accepts any box.
    """
    box = _draw_box(rng, label.shape, crop_size)
    if cat_max_ratio < 1:
        for _ in range(CROP_TRIES):
            if _is_varied(label[_slices(box)], cat_max_ratio):
                break
            box = _draw_box(rng, label.shape, crop_size)
    return box


def _draw_box(
    rng: np.random.Generator, size: tuple[int, ...], crop_size: tuple[int, int]
) -> CropBox:
    height, width = crop_size
    return CropBox(
        top=int(rng.integers(max(size[0] - height, 0) + 1)),
        left=int(rng.integers(max(size[1] - width, 0) + 1)),
        height=height,
        width=width,
    )


def _is_varied(label: Label, cat_max_ratio: float) -> bool:
    counts = np.bincount(label.ravel(), minlength=256)[:IGNORE_LABEL]
    return bool(np.count_nonzero(counts) > 1 and counts.max() < cat_max_ratio * counts.sum())


def _slices(box: CropBox) -> tuple[slice, slice]:
    return slice(box.top, box.top + box.height), slice(box.left, box.left + box.width)


def crop(image: Image, label: Label, box: CropBox) -> tuple[Image, Label]:
    """Cuts the same rectangle out of the image and the label."""
    return image[_slices(box)], label[_slices(box)]


# Flip and pad ------------------------------------------------------------------------------------


def flip(image: Image, label: Label) -> tuple[Image, Label]:
    """Mirrors the image and the label left to right."""
    return image[:, ::-1], label[:, ::-1]


def pad(image: Image, label: Label, size: tuple[int, int]) -> tuple[Image, Label]:
    """Extends both to (height, width) at the bottom and right: image by 0, label by 255.

    The reference pads after normalisation, which these images are still before. Whoever normalises
    them sets the padding to zero again, and needs the size from before for it.
    """
    height, width = image.shape[:2]
    border = ((0, size[0] - height), (0, size[1] - width))
    return (
        np.pad(image, (*border, (0, 0)), constant_values=0),
        np.pad(label, border, constant_values=IGNORE_LABEL),
    )


# Photometric distortion --------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class PhotometricDistortion:
    """Changes to an image's colours, each ``None`` where it is not made.

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
    """Applies a distortion; as in the reference every step is clipped and cut to uint8 anew."""
    if distortion.brightness is not None:
        image = _scale_and_shift(image, shift=distortion.brightness)
    if distortion.contrast is not None and distortion.contrast_first:
        image = _scale_and_shift(image, scale=distortion.contrast)
    if distortion.saturation is not None:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        hsv[..., 1] = _scale_and_shift(hsv[..., 1], scale=distortion.saturation)
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    if distortion.hue is not None:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0].astype(np.int32) + distortion.hue) % 180
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    if distortion.contrast is not None and not distortion.contrast_first:
        image = _scale_and_shift(image, scale=distortion.contrast)
    return image


def _scale_and_shift(
    values: UInt8[np.ndarray, "..."], scale: float = 1.0, shift: float = 0.0
) -> UInt8[np.ndarray, "..."]:
    return np.clip(values.astype(np.float32) * scale + shift, 0, 255).astype(np.uint8)
