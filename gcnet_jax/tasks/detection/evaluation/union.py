"""The detections of all processes together: each image of a split once."""

import io
from collections.abc import Callable, Sequence

import numpy as np

from gcnet_jax.errors import InputError
from gcnet_jax.parallel import InputShard, gather_bytes
from gcnet_jax.tasks.detection.evaluation.image_detections import ImageDetections

_MOST_NAMED = 3  # images in a message


def of_all_processes(
    own: Sequence[ImageDetections],
    shard: InputShard,
    *,
    count: int,
    name: Callable[[int], str],
) -> list[ImageDetections]:
    """Returns the detections in all images of a split, in their order; the same in every process.

    All processes of a job call it together. Where several have the same part of each batch, that of
    the first of them counts.

    Args:
        own: those in the images that this process has evaluated.
        shard: the part of each batch that it has.
        count: images of the split.
        name: how an image is called, by its index, for a message.

    Raises:
        InputError: an image was evaluated twice, or not at all.
    """
    if shard.count == 1:
        return checked_union([own], count=count, name=name)
    of_parts: dict[int, Sequence[ImageDetections]] = {}
    for content in gather_bytes(packed(own, shard.index)):
        part, detections = unpacked(content)
        of_parts.setdefault(part, detections)
    return checked_union(list(of_parts.values()), count=count, name=name)


def checked_union(
    parts: Sequence[Sequence[ImageDetections]], *, count: int, name: Callable[[int], str]
) -> list[ImageDetections]:
    """Returns what several parts of a split have, as `of_all_processes` does.

    Raises:
        InputError: an image is in none of them, or in more than one place, or is of no split of
            that size.
    """
    by_index: dict[int, ImageDetections] = {}
    double = []
    for image in (image for part in parts for image in part):
        if image.index in by_index:
            double.append(image.index)
        by_index[image.index] = image
    missing = [index for index in range(count) if index not in by_index]
    beyond = [f"index {index}" for index in by_index if not 0 <= index < count]
    for images, what in (
        ([name(index) for index in missing[:_MOST_NAMED]], "not evaluated"),
        (beyond[:_MOST_NAMED], f"evaluated that are not among its {count}"),
        ([name(index) for index in double[:_MOST_NAMED] if index < count], "evaluated twice"),
    ):
        if images:
            raise InputError(
                f"images of the split were {what}, such as {', '.join(images)}; expected each "
                "once: do all processes read the same data set, with the same config?"
            )
    return [by_index[index] for index in range(count)]


def packed(images: Sequence[ImageDetections], part: int) -> bytes:
    """Returns a part's detections as bytes, from which `unpacked` makes the same again."""
    masks = [counts for image in images for counts in image.masks or ()]
    arrays = {
        "part": np.int64(part),
        "has_masks": np.array([image.masks is not None for image in images], bool),
        "index": np.array([image.index for image in images], np.int64),
        "size": np.array([image.size for image in images], np.int64).reshape(-1, 2),
        "rows": np.array([len(image.scores) for image in images], np.int64),
        "boxes": np.concatenate([np.empty((0, 4), np.float32), *(x.boxes for x in images)]),
        "scores": np.concatenate([np.empty(0, np.float32), *(x.scores for x in images)]),
        "classes": np.concatenate([np.empty(0, np.int32), *(x.classes for x in images)]),
        "lengths": np.array([len(counts) for counts in masks], np.int64),
        "masks": np.frombuffer(b"".join(masks), np.uint8),
    }
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def unpacked(content: bytes) -> tuple[int, list[ImageDetections]]:
    """Returns the part and the detections that `packed` was given."""
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    joined = arrays["masks"].tobytes()
    ends = np.cumsum(arrays["lengths"]).tolist()
    masks = [joined[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
    images, row, mask = [], 0, 0
    for index, size, rows, has_masks in zip(
        *(arrays[key].tolist() for key in ("index", "size", "rows", "has_masks")), strict=True
    ):
        here = slice(row, row + rows)
        of_image = tuple(masks[mask : mask + rows]) if has_masks else None
        row, mask = row + rows, mask + (rows if has_masks else 0)
        boxes, scores, classes = (arrays[key][here] for key in ("boxes", "scores", "classes"))
        height, width = size
        images.append(ImageDetections(index, (height, width), boxes, scores, classes, of_image))
    return int(arrays["part"]), images
