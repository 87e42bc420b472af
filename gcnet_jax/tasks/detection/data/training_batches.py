"""Training batches: images with their objects, randomly transformed, in arrays of few shapes."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, NotRequired, TypedDict

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8
from ml_collections import ConfigDict

from gcnet_jax.data import (
    TrainIterator,
    bucketed_batches,
    rescaled_size,
    resize_image,
    shard_size,
)
from gcnet_jax.parallel import InputShard
from gcnet_jax.tasks.detection.classes import ObjectClasses
from gcnet_jax.tasks.detection.data import transforms
from gcnet_jax.tasks.detection.data.annotations import Annotations, trainable
from gcnet_jax.tasks.detection.data.datasets import DATA_SETS
from gcnet_jax.tasks.detection.data.records import Record, decode
from gcnet_jax.tasks.detection.data.training_shapes import (
    TrainingImages,
    training_arrays,
    training_images,
    training_scales,
)
from gcnet_jax.tasks.detection.objects import ImageObjects, joined_objects, padded_objects

_BYTES_OF_OBJECT = 20  # without a mask


class Batch(TypedDict):
    """Images in arrays of one shape, with as many rows for objects in each.

    Attributes:
        image: RGB at the top left of its array, 0 around it.
        size: height and width of each in pixels.
        boxes: (x1, y1, x2, y2) in pixels of the image.
        classes: from 0.
        valid: which rows are there.
        masks: which pixels are an object's, rows packed by `numpy.packbits`; absent where masks are
          not learnt.
    """

    image: UInt8[np.ndarray, "b h w 3"]
    size: Int32[np.ndarray, "b 2"]
    boxes: Float32[np.ndarray, "b m 4"]
    classes: Int32[np.ndarray, "b m"]
    valid: Bool[np.ndarray, "b m"]
    masks: NotRequired[UInt8[np.ndarray, "b m h w_bytes"]]


class Transformed(NamedTuple):
    """An image in the array of its bucket, and the objects in it."""

    image: UInt8[np.ndarray, "h w 3"]
    objects: ImageObjects


@dataclasses.dataclass(frozen=True)
class RandomTransform:
    """The training transforms, in mmdetection's order, and what makes batches of their results.

    Attributes:
        scales: (long edge, short edge) in pixels, of which one is drawn for the image to fit.
        flip_probability: how often to mirror left and right.
        shapes: (height, width) in pixels of the arrays of each bucket.
        capacity: rows for the objects of an image.
        mean_objects: of an image, on average.
        num_classes: classes that there are.
        with_masks: whether samples have masks.
    """

    scales: Sequence[tuple[int, int]]
    flip_probability: float
    shapes: Sequence[tuple[int, int]]
    capacity: int
    mean_objects: float
    num_classes: int
    with_masks: bool

    @property
    def sample_bytes(self) -> int:
        """Size of a sample of the largest shape with an average number of objects, in bytes."""
        pixels = max(math.prod(shape) for shape in self.shapes)
        of_object = _BYTES_OF_OBJECT + (pixels // 8 if self.with_masks else 0)
        return 3 * pixels + math.ceil(self.mean_objects * of_object)

    def __call__(self, record: Record, bucket: int, rng: np.random.Generator) -> Transformed:
        """Returns an image with its objects.

        Raises:
            InputError: the record cannot be decoded.
        """
        sample = decode(record)
        scale = self.scales[int(rng.integers(len(self.scales)))]
        flip = rng.random() < self.flip_probability
        height, width, _ = sample["image"].shape
        size = rescaled_size((height, width), scale)
        array = np.zeros((*self.shapes[bucket], 3), np.uint8)
        image = array[: size[0], : size[1]]
        if flip:
            cv2.flip(resize_image(sample["image"], size), 1, dst=image)
        else:
            image[:] = resize_image(sample["image"], size)
        objects = self._objects(record, sample["annotations"], size, flip=flip)
        return Transformed(array, objects)

    def batch(self, samples: Sequence[Transformed]) -> dict[str, Any]:
        """Returns images of one bucket with their objects, which are not padded yet."""
        height, width, _ = samples[0].image.shape
        objects = [sample.objects for sample in samples]
        return {
            "image": np.stack([sample.image for sample in samples]),
            "size": np.array([of_image.size for of_image in objects], np.int32),
            "objects": joined_objects(
                objects, num_classes=self.num_classes, array_size=(height, width)
            ),
        }

    def whole(self, batch: dict[str, Any]) -> dict[str, np.ndarray]:
        """Returns the entries of a `Batch`, of what `batch` has made.

        Raises:
            InputError: an image has more objects than there is room for.
        """
        objects = padded_objects(batch["objects"], self.capacity)
        return {"image": batch["image"], "size": batch["size"], **objects}

    def _objects(
        self, record: Record, annotations: Annotations, size: transforms.Size, *, flip: bool
    ) -> ImageObjects:
        """The objects of an image that is resized to a size and, it may be, mirrored."""
        stored: transforms.Size = tuple(record["size"].tolist())
        boxes = transforms.resize_boxes(annotations.boxes, stored, size)
        # Of a box that hardly reaches into the image rounding may leave nothing.
        left, top, right, bottom = boxes.T
        used = trainable(annotations, stored) & (left < right) & (top < bottom)
        boxes = boxes[used]
        masks = None
        if self.with_masks and annotations.masks is not None:
            chosen = [mask for mask, there in zip(annotations.masks, used, strict=True) if there]
            masks = transforms.resize_masks(chosen, stored, size, flip=flip)
        return ImageObjects(
            record["name"].decode(errors="backslashreplace"),
            size,
            transforms.flip_boxes(boxes, size[1]) if flip else boxes,
            annotations.classes[used],
            masks,
        )


def random_transform(config: ConfigDict, images: TrainingImages) -> RandomTransform:
    """Returns the transforms that a config describes, of the images that it is trained on."""
    classes = DATA_SETS.meaning(config.data.name, config.data.data_dir)
    return RandomTransform(
        scales=training_scales(config),
        flip_probability=config.data.flip_probability,
        shapes=images.arrays.shapes,
        capacity=images.arrays.capacity,
        mean_objects=images.mean_objects,
        num_classes=classes.num_classes,
        with_masks=config.model.mask_head.enabled,
    )


def training_batches(config: ConfigDict, shard: InputShard) -> TrainIterator[Batch]:
    """A process's part of the batches of training, each of one shape.

    Images are grouped into at most `data.max_shapes` shapes, see `gcnet_jax.data.BucketedOrder`.

    Args:
        config: of the run.
        shard: which part of each batch to make.

    Raises:
        InputError: the batch does not divide by the parts, or as `training_images` and
            `DataSets.training_records`.
    """
    batch_size = config.training.batch_size
    shard_size(batch_size, shard.count)  # the quickest to be refused
    records = DATA_SETS.training_records(config.data)
    images = training_images(config)
    return bucketed_batches(
        records,
        images.members,
        random_transform(config, images),
        batch_size=batch_size,
        seed=config.seed,
        num_workers=config.data.num_workers,
        shard_index=shard.index,
        shard_count=shard.count,
    )


def random_samples(
    config: ConfigDict, classes: ObjectClasses, rng: np.random.Generator
) -> list[dict[str, np.ndarray]]:
    """Random images with random objects as a `Batch` has them of an image, one of each shape.

    Args:
        config: of the run, see `training_arrays`.
        classes: of the objects.
        rng: source of randomness.

    Raises:
        InputError: as `training_images`, of a set that is prepared.
    """
    shapes, room = training_arrays(config)
    return [_random_sample(config, shape, room, classes, rng) for shape in shapes]


def _random_sample(
    config: ConfigDict,
    shape: tuple[int, int],
    room: int,
    classes: ObjectClasses,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    height, width = shape
    corners = np.sort(rng.uniform(0, 0.9, (room, 2, 2)), axis=1)
    corners[:, 1] += 0.1  # so that every box has an area
    sample = {
        "image": rng.integers(0, 256, (height, width, 3), np.uint8),
        "size": np.array(shape, np.int32),
        "boxes": np.float32(corners * [width, height]).reshape(room, 4),
        "classes": rng.integers(0, classes.num_classes, room, np.int32),
        "valid": np.arange(room) < -(-room // 2),
    }
    if config.model.mask_head.enabled:
        sample["masks"] = rng.integers(0, 256, (room, height, width // 8), np.uint8)
    return sample
