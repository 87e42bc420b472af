"""Training batches: random parts of images, all of one size, with their classes."""

import dataclasses
from typing import Any, TypedDict

import numpy as np
from jaxtyping import Int32, UInt8
from ml_collections import ConfigDict

from gcnet_jax.data import TrainIterator, shard_size, shuffled_batches
from gcnet_jax.tasks.classification.data import transforms
from gcnet_jax.tasks.classification.data.datasets import check_labels, open_split
from gcnet_jax.tasks.classification.data.records import Record, decode


class Batch(TypedDict):
    """Images of one size with their classes.

    Attributes:
        image: RGB.
        label: class indices.
    """

    image: UInt8[np.ndarray, "b h w 3"]
    label: Int32[np.ndarray, " b"]


def train_iterator(
    data_config: ConfigDict,
    *,
    batch_size: int,
    seed: int,
    shard_index: int = 0,
    shard_count: int = 1,
) -> TrainIterator[Batch]:
    """Returns an endless iterator over randomly transformed training batches.

    Every epoch visits each image once, in an order of its own. A batch may span two epochs.

    Args:
        data_config: what to read and how to transform it, with the keys `name`, `data_dir`,
            `train_split`, `crop_size` (edge of the square), `scale_range`, `ratio_range`,
            `flip_probability` and `num_workers`; see `gcnet_jax.data.shuffled_batches` for the
            last.
        batch_size: number of images a step, over all processes.
        seed: determines order and transforms.
        shard_index: which part of each batch to make.
        shard_count: how many parts there are; each has `batch_size / shard_count` images.

    Raises:
        InputError: if the split cannot be opened or is all of one class, or the batch does not
            divide by the parts.
    """
    shard_size(batch_size, shard_count)  # the quickest to be refused
    config: Any = data_config  # its values have no static types
    records = open_split(config.name, config.data_dir, config.train_split)
    check_labels(config.name, config.data_dir, config.train_split)
    return shuffled_batches(
        records,
        RandomTransform.from_config(data_config),
        batch_size=batch_size,
        sample_bytes=config.crop_size**2 * 3,
        seed=seed,
        num_workers=config.num_workers,
        shard_index=shard_index,
        shard_count=shard_count,
    )


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

    def __call__(self, record: Record, rng: np.random.Generator) -> dict[str, Any]:
        """Returns the entries of a `Batch` for one image, without the batch axis."""
        image = decode(record)["image"]
        size = image.shape[0], image.shape[1]
        box = transforms.draw_crop(rng, size, self.scale_range, self.ratio_range)
        image = transforms.resized(transforms.cropped(image, box), (self.crop_size, self.crop_size))
        if rng.random() < self.flip_probability:
            image = transforms.mirrored(image)
        return {"image": image, "label": np.int32(record["label"])}
