"""Detections of batch after batch, taken off the devices and kept small."""

import collections
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Int32

from gcnet_jax.parallel import rows_here
from gcnet_jax.tasks.detection.detector import Detections
from gcnet_jax.tasks.detection.evaluation.image_detections import FoundObjects, ImageDetections

_BATCHES_LATER = 3  # when the devices are done with a batch, and reading it waits for nothing
_MAX_THREADS = 16
_IMAGES_A_THREAD = 4  # that wait to be made small, at 0.3 megabytes of masks each


class _Places(NamedTuple):
    """The indices of the images of a batch, their sizes for the network, and their own sizes."""

    indices: Int32[np.ndarray, " b"]
    seen: Int32[np.ndarray, "b 2"]
    size: Int32[np.ndarray, "b 2"]


class DetectionCollector:
    """Takes detections off the devices, and brings them to pixels of the images.

    The batches that devices work on are left alone; those before are read, and masks put into their
    images as run lengths, in threads. What is kept of an image are some kilobytes.

    Args:
        with_masks: whether masks are wanted.
        mask_threshold: probability from which a pixel is an object's.
    """

    def __init__(self, *, with_masks: bool, mask_threshold: float):
        self._with_masks, self._mask_threshold = with_masks, mask_threshold
        threads = min(os.cpu_count() or 1, _MAX_THREADS)
        self._pool = ThreadPoolExecutor(threads)
        self._most_waiting = threads * _IMAGES_A_THREAD
        self._on_devices: collections.deque[tuple[_Places, Detections]] = collections.deque()
        self._waiting: collections.deque[Future[ImageDetections]] = collections.deque()
        self._done: list[ImageDetections] = []

    def add(
        self,
        detections: Detections,
        *,
        index: Int32[np.ndarray, " b"],
        seen: Int32[np.ndarray, "b 2"],
        size: Int32[np.ndarray, "b 2"],
    ) -> None:
        """Takes a batch that is under way, and reads one that is done.

        Args:
            detections: in pixels as the network sees them, on the devices.
            index: of each image in its split; below 0 for what only fills the batch up.
            seen: (height, width) that each image was resized to.
            size: of each image.
        """
        places = _Places(*(np.array(x) for x in (index, seen, size)))
        self._on_devices.append((places, detections))
        if len(self._on_devices) > _BATCHES_LATER:
            self._read(*self._on_devices.popleft())

    def finish(self) -> Sequence[ImageDetections]:
        """Returns what is detected in all images, in the order of their indices."""
        while self._on_devices:
            self._read(*self._on_devices.popleft())
        self._wait(keep=0)
        self._pool.shutdown()
        return sorted(self._done, key=lambda image: image.index)

    def _read(self, places: _Places, detections: Detections) -> None:
        if not self._with_masks:
            detections = detections._replace(masks=None)
        here = jax.tree.map(rows_here, detections)
        for row, index in enumerate(places.indices.tolist()):
            if index < 0:
                continue
            (seen_height, seen_width), (height, width) = (
                x[row].tolist() for x in (places.seen, places.size)
            )
            size = height, width
            found = FoundObjects.of(here, row, seen=(seen_height, seen_width), size=size)
            made = self._pool.submit(
                ImageDetections.of, found, index, size=size, mask_threshold=self._mask_threshold
            )
            self._waiting.append(made)
            self._wait(keep=self._most_waiting)

    def _wait(self, *, keep: int) -> None:
        """Returns when no more images wait to be made small than `keep`."""
        while self._waiting and (len(self._waiting) > keep or self._waiting[0].done()):
            self._done.append(self._waiting.popleft().result())
