"""Training batches: random parts of images, all of one size, with their classes."""

import dataclasses
from typing import Any, TypedDict

import numpy as np
from jaxtyping import Int32, UInt8
from ml_collections import ConfigDict

from gcnet_jax.data import TrainIterator
from gcnet_jax.parallel import InputShard
from gcnet_jax.tasks.classification.data import transforms
from gcnet_jax.tasks.classification.data.classes import ImageClasses
from gcnet_jax.tasks.classification.data.datasets import DATA_SETS
from gcnet_jax.tasks.classification.data.records import Record, decode


class Batch(TypedDict):
    """Images of one size with their classes.

    Attributes:
        image: RGB.
        label: class indices.
    """

    image: UInt8[np.ndarray, "b h w 3"]
    label: Int32[np.ndarray, " b"]


@dataclasses.dataclass(frozen=True)
class RandomTransform:
    """The training transforms, from a record to a sample of a batch.

    Attributes:
        crop_size: edge of the square that each part of an image is resized to, in pixels.
        scale_range: least and greatest share of the image's area that is taken.
        ratio_range: least and greatest width by height of what is taken.
        flip_probability: how often to mirror left and right.
    """

    crop_size: int
    scale_range: tuple[float, float]
    ratio_range: tuple[float, float]
    flip_probability: float

    @classmethod
    def from_config(cls, data_config: ConfigDict) -> "RandomTransform":
        """Returns the transforms that a config describes by keys of the same names."""
        config: Any = data_config  # its values have no static types
        return cls(
            crop_size=config.crop_size,
            scale_range=tuple(config.scale_range),
            ratio_range=tuple(config.ratio_range),
            flip_probability=config.flip_probability,
        )

    @property
    def sample_bytes(self) -> int:
        """Size of a sample, in bytes."""
        return self.crop_size**2 * 3

    def __call__(self, record: Record, rng: np.random.Generator) -> dict[str, Any]:
        """Returns the entries of a `Batch` for one image, without the batch axis."""
        image = decode(record)["image"]
        size = image.shape[0], image.shape[1]
        box = transforms.draw_crop(rng, size, self.scale_range, self.ratio_range)
        image = transforms.resized(transforms.cropped(image, box), (self.crop_size, self.crop_size))
        if rng.random() < self.flip_probability:
            image = transforms.mirrored(image)
        return {"image": image, "label": np.int32(record["label"])}


def training_batches(config: ConfigDict, shard: InputShard) -> TrainIterator[Batch]:
    """A process's part of the batches of training, see `DataSets.training_batches`."""
    return DATA_SETS.training_batches(
        config.data,
        RandomTransform.from_config(config.data),
        batch_size=config.training.batch_size,
        seed=config.seed,
        shard_index=shard.index,
        shard_count=shard.count,
    )


def random_samples(
    config: ConfigDict, classes: ImageClasses, rng: np.random.Generator
) -> list[dict[str, np.ndarray]]:
    """Random pixels and a class as a `Batch` has them of an image; all batches are of one shape."""
    size = config.data.crop_size
    sample = {
        "image": rng.integers(0, 256, (size, size, 3), np.uint8),
        "label": np.asarray(rng.integers(0, classes.num_classes, dtype=np.int32)),
    }
    return [sample]
