"""Training batches: crops of images with their labels, randomly transformed."""

import dataclasses
from typing import Any, TypedDict

import numpy as np
from jaxtyping import Int32, UInt8
from ml_collections import ConfigDict

from gcnet_jax.data import TrainIterator, rescaled_size
from gcnet_jax.parallel import InputShard
from gcnet_jax.tasks.segmentation.data import transforms
from gcnet_jax.tasks.segmentation.data.catalog import DatasetClasses
from gcnet_jax.tasks.segmentation.data.datasets import DATA_SETS
from gcnet_jax.tasks.segmentation.data.records import Record, decode

_BYTES_A_PIXEL = 4  # of an image and its label


class Batch(TypedDict):
    """Images of one size with their labels.

    Attributes:
        image: RGB, 0 in the padding.
        label: class indices, 255 where ignored and in the padding.
        size: height and width in pixels of the part of each image that is not padding. It lies at
          the top left.
    """

    image: UInt8[np.ndarray, "b h w 3"]
    label: UInt8[np.ndarray, "b h w"]
    size: Int32[np.ndarray, "b 2"]


@dataclasses.dataclass(frozen=True)
class RandomTransform:
    """The training transforms, in mmsegmentation's order, from a record to a sample of a batch.

    Attributes:
        base_scale: (long edge, short edge) in pixels at ratio 1.
        scale_range: the ratio is drawn from here.
        crop_size: (height, width) in pixels; what is smaller is padded to it.
        cat_max_ratio: no class may cover as much of a crop.
        flip_probability: how often to mirror left and right.
        photometric_distortion: whether to change colours.
    """

    base_scale: tuple[int, int]
    scale_range: tuple[float, float]
    crop_size: tuple[int, int]
    cat_max_ratio: float
    flip_probability: float
    photometric_distortion: bool

    @classmethod
    def from_config(cls, data_config: ConfigDict) -> "RandomTransform":
        """Returns the transforms that a config describes by keys of the same names."""
        config: Any = data_config  # its values have no static types
        return cls(
            base_scale=tuple(config.base_scale),
            scale_range=tuple(config.scale_range),
            crop_size=tuple(config.crop_size),
            cat_max_ratio=config.cat_max_ratio,
            flip_probability=config.flip_probability,
            photometric_distortion=config.photometric_distortion,
        )

    @property
    def sample_bytes(self) -> int:
        """Size of a sample, in bytes."""
        height, width = self.crop_size
        return height * width * _BYTES_A_PIXEL

    def __call__(self, record: Record, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Returns the entries of a `Batch` for one image, without the batch axis."""
        sample = decode(record)
        image, label = sample["image"], sample["label"]

        scale = transforms.draw_scale(rng, self.base_scale, self.scale_range)
        height, width = label.shape
        size = rescaled_size((height, width), scale)
        box = transforms.draw_crop(rng, label, size, self.crop_size, self.cat_max_ratio)
        image, label = transforms.resize(image, label, size, box)
        if rng.random() < self.flip_probability:
            image, label = transforms.flip(image, label)
        if self.photometric_distortion:
            distortion = transforms.draw_photometric_distortion(rng)
            image = transforms.distort_photometric(image, distortion)

        valid_size = np.array(label.shape, np.int32)
        image, label = transforms.pad(image, label, self.crop_size)
        return {"image": image, "label": label, "size": valid_size}


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
    config: ConfigDict, classes: DatasetClasses, rng: np.random.Generator
) -> list[dict[str, np.ndarray]]:
    """Random pixels and labels as a `Batch` has them of an image; all batches are of one shape."""
    crop = tuple(config.data.crop_size)
    sample = {
        "image": rng.integers(0, 256, (*crop, 3), np.uint8),
        "label": rng.integers(0, classes.num_classes, crop, np.uint8),
        "size": np.array(crop, np.int32),
    }
    return [sample]
