"""The objects in the images of a batch: any number in each, in arrays of one shape."""

from collections.abc import Sequence
from typing import Any, NamedTuple, NotRequired, TypedDict

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


class JoinedObjects(TypedDict):
    """The objects in the images of a batch, one image's after the other's, in few bytes.

    Attributes:
        counts: how many objects each image has.
        boxes: as of `Objects`, as all that follows.
        classes: see there.
        masks: see there; absent if they are not known.
    """

    counts: Int[np.ndarray, " b"]
    boxes: Float[np.ndarray, "n 4"]
    classes: Int[np.ndarray, " n"]
    masks: NotRequired[UInt8[np.ndarray, "n h w_bytes"]]


def joined_objects(
    images: Sequence[ImageObjects], *, num_classes: int, array_size: tuple[int, int]
) -> JoinedObjects:
    """The objects of a batch, checked, in arrays of the size that its images lie in.

    Args:
        images: of the batch, at the top left of their arrays.
        num_classes: classes that the detector tells apart.
        array_size: height and width of the arrays that the images lie in, the width a multiple of
          8.

    Raises:
        InputError: an image has a box that reaches out of it or has no area, an unknown class, or
            masks of another shape; or some images of the batch have masks and others have none.
    """
    for image in images:
        _check(image, num_classes, array_size)
    with_masks = [image.masks is not None for image in images]
    if any(with_masks) and not all(with_masks):
        name = images[with_masks.index(False)].name
        raise InputError(f"image {name} has no masks, but others of its batch have; expected all")
    counts = np.array([len(image.boxes) for image in images], np.int32)
    joined: JoinedObjects = {
        "counts": counts,
        "boxes": np.concatenate([image.boxes for image in images]).astype(np.float32),
        "classes": np.concatenate([image.classes for image in images]).astype(np.int32),
    }
    if any(with_masks):
        masks = np.zeros((counts.sum(), array_size[0], array_size[1] // 8), np.uint8)
        for of_image, image in zip(np.split(masks, counts.cumsum()[:-1]), images, strict=True):
            if image.masks is not None:
                of_image[:, : image.size[0], : row_bytes(image.size[1])] = image.masks
        joined["masks"] = masks
    return joined


def padded_objects(joined: JoinedObjects, capacity: int) -> dict[str, np.ndarray]:
    """Fields of `Objects` by name, with `capacity` rows for each image.

    Args:
        joined: the objects of a batch.
        capacity: rows for each image.

    Raises:
        InputError: the capacity is below 1, or an image has more objects than that.
    """
    if capacity < 1:
        raise InputError(f"the capacity is {capacity}; expected 1 or more, also without objects")
    counts = joined["counts"]
    if len(counts) and counts.max() > capacity:
        raise InputError(
            f"an image has {counts.max()} objects, and there is room for {capacity}; expected a "
            "capacity of the largest number in an image or more"
        )
    valid = np.arange(capacity) < counts[:, None]
    fields: dict[str, np.ndarray] = {"valid": valid}
    given: dict[str, Any] = {name: joined[name] for name in joined.keys() - {"counts"}}
    for name, rows in given.items():
        # Memory that nothing is written to costs nothing; of masks that is most.
        fields[name] = np.zeros((*valid.shape, *rows.shape[1:]), rows.dtype)
        fields[name][valid] = rows
    return fields


def row_bytes(width: int) -> int:
    """Returns how many bytes the packed bits of a row of pixels take."""
    return -(-width // 8)


def _check(image: ImageObjects, num_classes: int, array_size: tuple[int, int]) -> None:
    rows, (height, width) = len(image.boxes), image.size
    where = f"image {image.name}"
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
