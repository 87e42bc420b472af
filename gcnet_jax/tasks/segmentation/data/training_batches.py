"""Training batches: crops of images with their labels, randomly transformed."""

import dataclasses
from typing import Any, TypedDict

import numpy as np
from jaxtyping import Int32, UInt8
from ml_collections import ConfigDict

from gcnet_jax.data import TrainIterator, rescaled_size, shard_size, shuffled_batches
from gcnet_jax.tasks.segmentation.data import transforms
from gcnet_jax.tasks.segmentation.data.datasets import check_labels, open_split
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
            `train_split`, `base_scale` (long edge, short edge), `scale_range`, `crop_size` (height,
            width), `cat_max_ratio`, `flip_probability`, `photometric_distortion` and `num_workers`;
            see `gcnet_jax.data.shuffled_batches` for the last.
        batch_size: number of images a step, over all processes.
        seed: determines order and transforms.
        shard_index: which part of each batch to make.
        shard_count: how many parts there are; each has `batch_size / shard_count` images.

    Raises:
        InputError: if the split cannot be opened or has no labels, or the batch does not divide by
            the parts.
    """
    shard_size(batch_size, shard_count)  # the quickest to be refused
    config: Any = data_config  # its values have no static types
    records = open_split(config.name, config.data_dir, config.train_split)
    check_labels(config.name, config.data_dir, config.train_split)
    height, width = config.crop_size
    return shuffled_batches(
        records,
        RandomTransform.from_config(data_config),
        batch_size=batch_size,
        sample_bytes=height * width * _BYTES_A_PIXEL,
        seed=seed,
        num_workers=config.num_workers,
        shard_index=shard_index,
        shard_count=shard_count,
    )


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
