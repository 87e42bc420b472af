"""A detector with its weights, ready to take images."""

import collections
import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from gcnet_jax.data import displayed_size, read_displayed_size, rescaled_size, resize_image
from gcnet_jax.errors import InputError
from gcnet_jax.files import as_path
from gcnet_jax.task import RunProgram
from gcnet_jax.tasks.detection.classes import ObjectClasses
from gcnet_jax.tasks.detection.detector import Detections, Detector
from gcnet_jax.tasks.detection.evaluation.image_detections import FoundObjects
from gcnet_jax.tasks.detection.exported_programs import EXPORT, OBJECTS
from gcnet_jax.tasks.detection.image_shapes import Size, array_shape
from gcnet_jax.tasks.detection.result import DetectionResult
from gcnet_jax.tasks.trained_network import ImageInput, TrainedOnClasses, pixels_of
from gcnet_jax.training import lack_of_memory_named


class _Batch(NamedTuple):
    """Images under way, by their indices among all, and what is found in them, on the devices."""

    images: Mapping[int, UInt8[np.ndarray, "_h _w 3"]]
    found: Detections


class TrainedDetector(TrainedOnClasses[Detector, ObjectClasses, DetectionResult]):
    """A network with its weights: called with an image, or a list of images, it finds objects.

    Images are resized to fit the config's `data.base_scale`, and go through the network in arrays
    of a few shapes, which the aspect decides. In each is found what would be found in it alone.

    Args:
        network: the model with the weights of a checkpoint, or the programs of an exported file.
        config: of the run.

    Attributes:
        model: the network, an `nnx.Module` in evaluation mode, as it was loaded.
        config: of the run.
        classes: what the network tells apart, by index.
        source: the file or folder that the weights are from.
    """

    def results(self, images: Sequence[ImageInput]) -> list[DetectionResult]:
        """The results of images in order; errors as of `__call__`."""
        results: dict[int, DetectionResult] = {}
        for index, found in self.detect(images):
            if isinstance(found, InputError):
                raise found
            results[index] = found
        return [results[index] for index in range(len(images))]

    def detect(
        self, images: Sequence[ImageInput]
    ) -> Iterator[tuple[int, DetectionResult | InputError]]:
        """Yields the index of each image with its result, those of one shape one after another.

        Files are read when their turn comes, a batch at a time, and nothing of them is kept. For
        each shape there are programs for two sizes of batches, `evaluation.batch_size` and one:
        images that are too few for a batch go through one by one.

        Args:
            images: as for `__call__`.

        Yields:
            For an image that cannot be read the error that says so, in place of the result.
        """
        waiting: dict[Size, list[int]] = collections.defaultdict(list)
        for index, image in enumerate(images):
            try:
                waiting[self._shape(_said_size(image) or _size(self.pixels(image)))].append(index)
            except InputError as error:
                yield index, error
        while waiting:
            shape, indices = waiting.popitem()
            size = self.config.evaluation.batch_size
            size = size if len(indices) >= size else 1
            under_way: _Batch | None = None
            for start in range(0, len(indices), size):
                read: dict[int, UInt8[np.ndarray, "_h _w 3"]] = {}
                for index in indices[start : start + size]:
                    try:
                        pixels = self.pixels(images[index])
                    except InputError as error:
                        yield index, error
                        continue
                    if self._shape(_size(pixels)) == shape:
                        read[index] = pixels
                    else:  # it is not as large as its file says
                        waiting[self._shape(_size(pixels))].append(index)
                before, under_way = under_way, self._start(read, shape, size) if read else None
                yield from self._results(before)
            yield from self._results(under_way)

    def pixels(self, image: ImageInput) -> UInt8[np.ndarray, "h w 3"]:
        """The RGB pixels of an image; errors as of `__call__`."""
        return pixels_of(image, max_pixels=self.config.data.max_image_pixels)

    def _shape(self, size: Size) -> Size:
        """The shape of the array for an image of some size."""
        return array_shape(self._seen(size), self.config.data.base_scale)

    def _seen(self, size: Size) -> Size:
        """The size that an image has for the network."""
        return rescaled_size(size, self.config.data.base_scale)

    def _start(
        self, images: Mapping[int, UInt8[np.ndarray, "_h _w 3"]], shape: Size, batch_size: int
    ) -> _Batch:
        """Sends images through the network, and waits for nothing."""
        arrays = np.zeros((batch_size, *shape, 3), np.uint8)
        sizes = np.zeros((batch_size, 2), np.int32)  # what fills the batch up has none
        for row, image in enumerate(images.values()):
            sizes[row] = height, width = self._seen(_size(image))
            arrays[row, :height, :width] = resize_image(image, (height, width))
        with lack_of_memory_named():
            found = self._program(arrays, sizes)
        return _Batch(images, Detections(**{"masks": None, **found}))  # type: ignore[arg-type]

    def _results(self, batch: _Batch | None) -> Iterator[tuple[int, DetectionResult]]:
        """Yields what is found in the images of a batch, when the network is done with it."""
        if batch is None:
            return
        with lack_of_memory_named():
            detections = jax.device_get(batch.found)
        self._check_classes(detections.classes)
        for row, (index, image) in enumerate(batch.images.items()):
            size = _size(image)
            found = FoundObjects.of(detections, row, seen=self._seen(size), size=size)
            limits = np.array([size[1], size[0]] * 2, np.float32)
            yield (
                index,
                DetectionResult(
                    image,
                    np.clip(found.boxes, 0, limits),
                    found.scores,
                    found.classes,
                    found.box_masks,
                    self.classes.names,
                    mask_threshold=self.config.model.test.mask_threshold,
                ),
            )

    def _check_classes(self, classes: Int[np.ndarray, "b objects"]) -> None:
        """Raises InputError where a program, which may be a stranger's, finds what has no name."""
        count = self.classes.num_classes
        if unknown := classes[(classes < 0) | (classes >= count)].tolist():
            raise InputError(
                f"{self.source} finds objects of the class {unknown[0]}; expected 0 to {count - 1}"
            )

    @functools.cached_property
    def _program(self) -> RunProgram:
        return self._run_program(OBJECTS, EXPORT)


def _said_size(image: ImageInput) -> Size | None:
    """The size that an image says it has; None where it has to be read to be known."""
    if isinstance(image, str | os.PathLike):
        return read_displayed_size(as_path(image))
    return displayed_size(image) if isinstance(image, Image.Image) else None


def _size(pixels: UInt8[np.ndarray, "h w 3"]) -> Size:
    return pixels.shape[0], pixels.shape[1]
