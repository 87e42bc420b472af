"""A detector with its weights, ready to take images."""

import collections
import functools
import operator
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Int, PyTree, UInt8

from gcnet_jax.data import rescaled_size, resize_image
from gcnet_jax.models import merge, split_for_evaluation
from gcnet_jax.ops import normalize_images
from gcnet_jax.tasks.detection.classes import ObjectClasses
from gcnet_jax.tasks.detection.detector import Detections, Detector
from gcnet_jax.tasks.detection.image_shapes import Size, array_shape
from gcnet_jax.tasks.detection.result import DetectionResult
from gcnet_jax.tasks.trained_network import ImageInput, TrainedOnClasses, pixels_of
from gcnet_jax.training import lack_of_memory_named


class TrainedDetector(TrainedOnClasses[Detector, ObjectClasses, DetectionResult]):
    """A network with its weights: called with an image, or a list of images, it finds objects.

    Images are resized to fit the config's `data.base_scale`, and go through the network in arrays
    of a few shapes, which the aspect decides. In each is found what would be found in it alone.

    Args:
        pretrained: the model with the weights of a checkpoint.
        config: of the run.

    Attributes:
        model: the network, an `nnx.Module` in evaluation mode, as it was loaded.
        config: of the run.
        classes: what the network tells apart, by index.
        source: the file or folder that the weights are from.
    """

    def results(self, images: Sequence[ImageInput]) -> list[DetectionResult]:
        """The results of images in order; errors as of `__call__`."""
        scale = self.config.data.base_scale
        pixels = [self.pixels(image) for image in images]
        sizes = [rescaled_size(_size(image), scale) for image in pixels]
        members = collections.defaultdict(list)
        for index, size in enumerate(sizes):
            members[array_shape(size, scale)].append(index)
        results: dict[int, DetectionResult] = {}
        for shape, indices in members.items():
            for batch, rows in self._batches(indices):
                found = self._detect([pixels[i] for i in batch], [sizes[i] for i in batch], shape)
                for row, index in enumerate(batch[:rows]):
                    of_image = jax.tree.map(operator.itemgetter(row), found)
                    results[index] = self._result(pixels[index], sizes[index], of_image)
        return [results[index] for index in range(len(images))]

    def pixels(self, image: ImageInput) -> UInt8[np.ndarray, "h w 3"]:
        """The RGB pixels of an image; errors as of `__call__`."""
        return pixels_of(image, max_pixels=self.config.data.max_image_pixels)

    def _batches(self, indices: list[int]) -> Iterator[tuple[list[int], int]]:
        """Yields batches of one size, for which one program is compiled, and how many count."""
        count = -(-len(indices) // self.config.evaluation.batch_size)
        size = -(-len(indices) // count)
        for start in range(0, len(indices), size):
            batch = indices[start : start + size]
            yield batch + batch[:1] * (size - len(batch)), len(batch)

    def _detect(
        self, images: Sequence[UInt8[np.ndarray, "_h _w 3"]], sizes: Sequence[Size], shape: Size
    ) -> Detections:
        """What is found in images, in pixels of their sizes for the network."""
        arrays = np.zeros((len(images), *shape, 3), np.uint8)
        for array, image, (height, width) in zip(arrays, images, sizes, strict=True):
            array[:height, :width] = resize_image(image, (height, width))
        program, variables = self._program
        with lack_of_memory_named():
            return jax.device_get(program(variables, arrays, np.array(sizes, np.int32)))

    def _result(
        self, pixels: UInt8[np.ndarray, "h w 3"], size: Size, found: Detections
    ) -> DetectionResult:
        """What is found in an image, in its own pixels."""
        (height, width), (seen_height, seen_width) = _size(pixels), size
        enlarged = np.array([seen_width / width, seen_height / height] * 2, np.float32)
        there = np.asarray(found.valid)
        boxes = np.asarray(found.boxes)[there] / enlarged
        return DetectionResult(
            pixels,
            np.clip(boxes, 0, np.array([width, height] * 2, np.float32)),
            np.asarray(found.scores)[there],
            np.asarray(found.classes)[there],
            None if found.masks is None else np.asarray(found.masks)[there],
            self.classes.names,
            mask_threshold=self.config.model.test.mask_threshold,
        )

    @functools.cached_property
    def _program(self) -> Any:
        graphdef, variables = split_for_evaluation(self.model)
        return jax.jit(functools.partial(_detections, graphdef)), variables


def _detections(
    graphdef: nnx.GraphDef,
    variables: PyTree,
    images: UInt8[Array, "b h w 3"],
    sizes: Int[Array, "b 2"],
) -> Detections:
    return merge(graphdef, variables)(normalize_images(images, sizes), sizes)


def _size(pixels: UInt8[np.ndarray, "h w 3"]) -> Size:
    return pixels.shape[0], pixels.shape[1]
