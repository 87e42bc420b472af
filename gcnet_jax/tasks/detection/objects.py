"""The objects in the images of a batch: any number in each, in arrays of one shape."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from gcnet_jax.errors import InputError


class Objects(NamedTuple):
    """The objects in the images of a batch, as many rows for each.

    Attributes:
        boxes: (x1, y1, x2, y2) in pixels of the images that the network is given.
        classes: from 0.
        valid: which rows are there.
        masks: which pixels are an object's, none beyond the image; the bits of each row of pixels
          as `numpy.packbits` packs them. None if masks are not known.
    """

    boxes: Float[Array, "b m 4"]
    classes: Int[Array, "b m"]
    valid: Bool[Array, "b m"]
    masks: UInt8[Array, "b m h w_bytes"] | None = None


class ImageObjects(NamedTuple):
    """The objects in one image.

    Attributes:
        name: of the image, for messages.
        size: its height and width.
        boxes: (x1, y1, x2, y2) in its pixels.
        classes: from 0.
        masks: which pixels are an object's, rows packed by `numpy.packbits(masks, axis=-1)`; None
          if that is not known.
    """

    name: str
    size: tuple[int, int]
    boxes: Float[np.ndarray, "n 4"]
    classes: Int[np.ndarray, " n"]
    masks: UInt8[np.ndarray, "n h w_bytes"] | None = None


def padded_objects(
    images: Sequence[ImageObjects],
    *,
    capacity: int,
    num_classes: int,
    array_size: tuple[int, int],
) -> dict[str, np.ndarray]:
    """Fields of the `Objects` of a batch by name, with `capacity` rows for each image.

    There are no `masks` if they are not known.

    Args:
        images: of the batch, at the top left of their arrays.
        capacity: rows for each image.
        num_classes: classes that the detector tells apart.
        array_size: height and width of the arrays that the images lie in, the width a multiple of
          8.

    Raises:
        InputError: the capacity is below 1; an image has more objects than that, a box that
            reaches out of the image or has no area, an unknown class, or masks of another shape;
            or some images of the batch have masks and others have none.
    """
    if capacity < 1:
        raise InputError(f"the capacity is {capacity}; expected 1 or more, also without objects")
    for image in images:
        _check(image, capacity, num_classes, array_size)
    with_masks = [image.masks is not None for image in images]
    if any(with_masks) and not all(with_masks):
        name = images[with_masks.index(False)].name
        raise InputError(f"image {name} has no masks, but others of its batch have; expected all")
    count, (height, width) = len(images), array_size
    fields = {
        "boxes": np.zeros((count, capacity, 4), np.float32),
        "classes": np.zeros((count, capacity), np.int32),
        "valid": np.zeros((count, capacity), bool),
    }
    if any(with_masks):
        # Large, mostly of rows that are not there: memory that nothing is written to costs nothing.
        fields["masks"] = np.zeros((count, capacity, height, width // 8), np.uint8)
    for index, image in enumerate(images):
        rows = len(image.boxes)
        fields["boxes"][index, :rows], fields["classes"][index, :rows] = image.boxes, image.classes
        fields["valid"][index, :rows] = True
        if image.masks is not None:
            height, row = image.masks.shape[1:]
            fields["masks"][index, :rows, :height, :row] = image.masks
    return fields


def row_bytes(width: int) -> int:
    """Returns how many bytes the packed bits of a row of pixels take."""
    return -(-width // 8)


def _check(
    image: ImageObjects, capacity: int, num_classes: int, array_size: tuple[int, int]
) -> None:
    rows, (height, width) = len(image.boxes), image.size
    where = f"image {image.name}"
    if rows > capacity:
        raise InputError(
            f"{where} has {rows} objects, and there is room for {capacity}; expected a capacity of "
            "the largest number in an image or more"
        )
    if height > array_size[0] or width > array_size[1]:
        raise InputError(
            f"{where} is {height}x{width}; expected no more than the array's "
            f"{array_size[0]}x{array_size[1]}"
        )
    if image.boxes.shape != (rows, 4) or image.classes.shape != (rows,):
        raise InputError(
            f"{where} has boxes of shape {image.boxes.shape} and classes of shape "
            f"{image.classes.shape}; expected (n, 4) and (n,)"
        )
    if not np.issubdtype(image.classes.dtype, np.integer):
        raise InputError(f"{where} has classes of {image.classes.dtype}; expected whole numbers")
    for index, (box, label) in enumerate(zip(image.boxes.tolist(), image.classes, strict=True)):
        left, top, right, bottom = box
        if not (left < right and top < bottom):  # also where one is no number
            raise InputError(f"box {index} of {where} is {box}: it has no area")
        if left < 0 or top < 0 or right > width or bottom > height:
            raise InputError(
                f"box {index} of {where} is {box}; expected one within the image's {height} rows "
                f"and {width} columns"
            )
        if not 0 <= label < num_classes:
            raise InputError(
                f"object {index} of {where} is of class {label}; expected 0 to {num_classes - 1}"
            )
    packed = rows, height, row_bytes(width)
    if image.masks is not None and (image.masks.shape != packed or image.masks.dtype != np.uint8):
        raise InputError(
            f"{where} has masks of {image.masks.dtype} of shape {image.masks.shape}; expected "
            f"bits in uint8 of shape {packed}, of numpy.packbits"
        )
