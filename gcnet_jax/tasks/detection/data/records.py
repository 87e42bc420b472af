"""What one example holds: not yet stored, stored, and decoded."""

from typing import NamedTuple, TypedDict

import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8

from gcnet_jax.data import decode_rgb
from gcnet_jax.errors import InputError
from gcnet_jax.tasks.detection.data.annotations import Annotations

_AFTER_MASK = b"\n"  # which run lengths are never written with


class LoadedExample(NamedTuple):
    """One example in memory.

    Attributes:
        encoded: the bytes of the image file.
        image: its pixels, RGB.
        image_id: what the data set itself calls the image.
        annotations: of the image, as it is displayed.
    """

    encoded: bytes
    image: UInt8[np.ndarray, "h w 3"]
    image_id: int
    annotations: Annotations


class Record(TypedDict):
    """One stored example, still encoded.

    Attributes:
        image: bytes of an image file: PNG, JPEG or whatever OpenCV reads, or binary PPM.
        image_id: what the data set itself calls the image.
        name: UTF-8 name of the example, unique within its split.
        size: height and width of the image in pixels.
        boxes: see `Annotations`, as all that follows.
        classes: of the boxes.
        crowds: whether they are.
        areas: in pixels.
        has_masks: whether there is a mask for each box, or for none.
        masks: the counts of run lengths, a line each.
    """

    image: bytes
    image_id: np.int64
    name: bytes
    size: Int32[np.ndarray, "2"]
    boxes: Float32[np.ndarray, "n 4"]
    classes: Int32[np.ndarray, " n"]
    crowds: Bool[np.ndarray, " n"]
    areas: Float32[np.ndarray, " n"]
    has_masks: np.bool_
    masks: bytes


class Sample(TypedDict):
    """One decoded example: an RGB image, and all that is annotated in it.

    Uncompressed pixels are a view of the record's bytes, which cannot be written to.
    """

    image: UInt8[np.ndarray, "h w 3"]
    annotations: Annotations


def decode(record: Record) -> Sample:
    """Decodes the image and the annotations of a record; masks stay run lengths.

    Raises:
        InputError: if the image cannot be decoded, or the annotations do not belong together; the
            message names the record.
    """
    image = decode_rgb(record["image"], f"the image of record '{_name(record)}'")
    return {"image": image, "annotations": annotations_of(record)}


def annotations_of(record: Record) -> Annotations:
    """Returns what is annotated in the image of a record, which is not decoded.

    Raises:
        InputError: if the annotations do not belong together; the message names the record.
    """
    annotations = Annotations(
        record["boxes"],
        record["classes"],
        record["crowds"],
        record["areas"],
        separated_masks(record["masks"]) if record["has_masks"] else None,
    )
    lengths = {len(part) for part in annotations if part is not None}
    if len(lengths) > 1:
        raise InputError(
            f"the annotations of record '{_name(record)}' are damaged: there are {len(lengths)} "
            "different numbers of boxes, classes, crowds, areas and masks; expected as many of each"
        )
    return annotations


def joined_masks(masks: tuple[bytes, ...]) -> bytes:
    """Returns the run lengths of several masks as the bytes of a record."""
    return b"".join(mask + _AFTER_MASK for mask in masks)


def separated_masks(joined: bytes) -> tuple[bytes, ...]:
    """Returns the run lengths of each mask."""
    return tuple(joined.split(_AFTER_MASK)[:-1])


def _name(record: Record) -> str:
    return record["name"].decode(errors="backslashreplace")
