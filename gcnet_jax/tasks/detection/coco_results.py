"""Detections of many images as one file of results in COCO's format.

The file is JSON, a list of entries, each on a line of its own:

    {"image_id": 139, "category_id": 1, "bbox": [x, y, width, height], "score": 0.98,
     "segmentation": {"size": [height, width], "counts": "..."}}
"""

import contextlib
import itertools
import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import IO, Any, Self

from etils import epath

from gcnet_jax.errors import InputError
from gcnet_jax.files import open_regular, write_whole
from gcnet_jax.tasks.detection.classes import ObjectClasses
from gcnet_jax.tasks.detection.result import DetectionResult

RESULTS = "coco_results.json"
"""The name of the file in a folder of results."""


def category_ids(classes: ObjectClasses) -> Sequence[int]:
    """What the data set calls each class; where nobody knows, they are counted from 1."""
    return classes.category_ids or range(1, classes.num_classes + 1)


def result_entry(
    image_id: int | str,
    category_id: int,
    box: Sequence[float],
    score: float,
    mask: dict[str, Any] | None,
) -> bytes:
    """The line of an object.

    Args:
        image_id: of its image.
        category_id: of its class.
        box: (x1, y1, x2, y2) in pixels.
        score: from 0 to 1.
        mask: `size` and `counts` of compressed run lengths, if there are any.
    """
    left, top, right, bottom = box
    entry: dict[str, Any] = {
        "image_id": image_id,
        "category_id": category_id,
        "bbox": [left, top, right - left, bottom - top],
        "score": score,
    }
    if mask is not None:
        entry["segmentation"] = mask
    return json.dumps(entry).encode()


def write_entries(path: epath.Path, entries: Iterable[bytes]) -> None:
    """Writes a file of results, without holding it in memory.

    Args:
        path: of the file.
        entries: their lines.

    Raises:
        InputError: it cannot be written.
    """
    with tempfile.TemporaryFile() as whole:
        separator = b"["
        for line in entries:
            whole.write(separator + b"\n" + line)
            separator = b","
        whole.write(b"\n]\n" if separator == b"," else b"[]\n")
        whole.seek(0)
        write_whole(path, whole)


class CocoResults:
    """A file of results, to which images are added; it takes no memory. To be entered as a context.

    `image_id` is the image's name, without its ending; or the number that it is, where it has
    twelve digits, as the images of COCO are called, so that COCO's own tools take the file.
    `category_id` is as `category_ids` has it. `bbox` is in pixels, and `segmentation` is there
    where the network finds masks.

    Entries that the file has of other images stay.

    Args:
        folder: of the file.
        classes: of the detector.
        overwrite: whether a file of that name that is no such list is replaced.

    Raises:
        InputError: there is one, when the context is entered; or the file cannot be written, when
            the context is left.
    """

    def __init__(self, folder: epath.Path, classes: ObjectClasses, *, overwrite: bool):
        self._path, self._overwrite = folder / RESULTS, overwrite
        self._category_ids = category_ids(classes)
        self._keeps_others = True
        self._images: set[int | str] = set()
        self._resources = contextlib.ExitStack()

    def __enter__(self) -> Self:
        try:
            for _ in self._earlier():
                pass  # or it is refused, before any image is looked at
        except InputError:
            if not self._overwrite:
                raise
            self._keeps_others = False
        self._lines: IO[bytes] = self._resources.enter_context(tempfile.TemporaryFile())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._resources:
            if kind is None and self._images:
                write_entries(self._path, itertools.chain(self._others(), self._added()))

    def add(self, name: str, result: DetectionResult) -> None:
        """Adds what is detected in an image.

        Args:
            name: of the image, without its ending.
            result: what is detected.
        """
        image_id = _image_id(name)
        self._images.add(image_id)
        for row, plain in enumerate(result.to_plain()):
            category = self._category_ids[result.labels[row]]
            entry = result_entry(
                image_id, category, plain["box"], plain["score"], plain.get("mask")
            )
            self._lines.write(entry + b"\n")

    def _added(self) -> Iterator[bytes]:
        self._lines.seek(0)
        for line in self._lines:
            yield line.rstrip()

    def _others(self) -> Iterator[bytes]:
        if self._keeps_others:
            for image_id, line in self._earlier():
                if image_id not in self._images:
                    yield line

    def _earlier(self) -> Iterator[tuple[int | str, bytes]]:
        """Yields the image and the line of each entry that the file has.

        Raises:
            InputError: the file is none that this class has written, or damaged.
        """
        if not self._path.exists():
            return
        advice = "give another --output_dir, or --overwrite to replace it"
        last = b""
        with open_regular(self._path) as file:
            for number, line in enumerate(file):
                last = line.strip()
                if (number == 0 and last == b"[") or last in (b"]", b"[]"):
                    continue
                entry = last.removesuffix(b",")
                try:
                    image_id = json.loads(entry)["image_id"]
                    hash(image_id)
                except (ValueError, KeyError, TypeError, RecursionError) as error:
                    raise InputError(
                        f"line {number + 1} of {self._path} is no result of a prediction, to which "
                        f"others could be added; {advice}"
                    ) from error
                yield image_id, entry
        if last not in (b"]", b"[]"):
            raise InputError(f"{self._path} ends early; {advice}")


def _image_id(name: str) -> int | str:
    """The number that an image of COCO is, else the name: no two names have the same."""
    return int(name) if re.fullmatch("[0-9]{12}", name) else name
