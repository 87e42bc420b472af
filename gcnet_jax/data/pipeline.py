"""Batches for training, made by Grain.

Training batches are a function of the seed and of their number alone. Neither worker processes,
nor threads, nor a restart in between change them, and the batches of several hosts together hold
exactly the samples of the batch that one host alone would make.
"""

import dataclasses
import os
from collections.abc import Callable
from typing import Any, TypedDict

import grain
import numpy as np
from absl import flags
from jaxtyping import Int32, UInt8
from ml_collections import ConfigDict

from gcnet_jax.data import transforms
from gcnet_jax.data.datasets import check_labels, open_split
from gcnet_jax.data.records import Record, decode
from gcnet_jax.data.workers import (
    BUFFERED_BATCHES,
    check_shared_memory,
    exit_code,
    initialise_worker,
    signals_kept_from_children,
    why_ended,
)
from gcnet_jax.errors import InputError

_MAX_THREADS = 16
_LAST_SAMPLE = 2**48
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
) -> "TrainIterator":
    """Returns an endless iterator over randomly transformed training batches.

    Every epoch visits each image once, in an order of its own. A batch may span two epochs.

    Args:
        data_config: what to read and how to transform it, with the keys ``name``, ``data_dir``,
          ``train_split``, ``base_scale`` (long edge, short edge), ``scale_range``, ``crop_size``
          (height, width), ``cat_max_ratio``, ``flip_probability``, ``photometric_distortion`` and
          ``num_workers``. With 0 workers, threads of this process make the batches. Otherwise a
          script must guard its entry with ``if __name__ == "__main__"``, for workers import it.
        batch_size: number of images a step, over all processes.
        seed: determines order and transforms.
        shard_index: which part of each batch to make.
        shard_count: how many parts there are; each has ``batch_size / shard_count`` images.

    Raises:
        InputError: if the split cannot be opened or has no labels, or the batch does not divide by
          the parts.
    """
    local_batch_size = shard_size(batch_size, shard_count)
    config: Any = data_config  # its values have no static types
    records = open_split(config.name, config.data_dir, config.train_split)
    check_labels(config.name, config.data_dir, config.train_split)
    transform = RandomTransform.from_config(data_config)
    samples = grain.MapDataset.source(records).seed(seed).shuffle().repeat().random_map(transform)

    def batches_from(first: int) -> grain.MapDataset[Batch]:
        # Sliced only here, after everything random: a sample's randomness follows from its position
        # in the one global sequence, whichever process makes it. Each batch is cut into one piece a
        # process, in order, so that a sample also has the same place in the batch.
        return samples[first:].batch(local_batch_size)[shard_index::shard_count]

    height, width = config.crop_size
    return TrainIterator(
        batches_from,
        batch_size=batch_size,
        batch_bytes=local_batch_size * height * width * _BYTES_A_PIXEL,
        num_workers=config.num_workers,
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
        """The transforms of a config, whose keys of these names there are."""
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
        """Returns the entries of a :class:`Batch` for one image, without the batch axis."""
        sample = decode(record)
        image, label = sample["image"], sample["label"]

        scale = transforms.draw_scale(rng, self.base_scale, self.scale_range)
        height, width = label.shape
        size = transforms.rescaled_size((height, width), scale)
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


class TrainIterator(grain.DatasetIterator[Batch]):
    """Endless iterator over batches whose whole state is the number of the next sample.

    Grain's own iterators keep a state for every worker, which cannot be restored with another
    number of workers. This one starts the workers anew from wherever it is set to, so that a
    checkpoint made on one machine goes on, bitwise the same, on another with more cores or more
    hosts; and, with the samples that come next, in batches of another size. Nothing is started
    before the first batch is asked for.

    Args:
        batches_from: this process's part of each batch, from the batch that begins with the sample
          of a number.
        batch_size: samples a batch, over all processes.
        batch_bytes: size of this process's part of a batch, in bytes.
        num_workers: processes that make batches; 0: threads of this one.
    """

    def __init__(
        self,
        batches_from: Callable[[int], grain.MapDataset[Batch]],
        *,
        batch_size: int,
        batch_bytes: int,
        num_workers: int,
    ):
        super().__init__()
        self._batches_from = batches_from
        self._batch_size = batch_size
        self._batch_bytes = batch_bytes
        self._num_workers = num_workers
        self._next_sample = 0
        self._running: grain.DatasetIterator[Batch] | None = None

    def __next__(self) -> Batch:
        self.start_prefetch()
        assert self._running is not None
        try:
            batch = next(self._running)
        except RuntimeError as error:  # what Grain raises when a worker is gone
            if "Worker process was terminated" not in str(error):
                raise
            raise InputError(why_ended(exit_code(str(error)))) from error
        self._next_sample += self._batch_size
        return batch

    def start_prefetch(self) -> None:
        """Starts making batches in the background, so that the first is there when needed.

        Raises:
            InputError: shared memory has no room for the batches of the workers.
        """
        if self._running is None:
            check_shared_memory(self._num_workers, self._batch_bytes)
            self._running = iter(self._prefetched(self._batches_from(self._next_sample)))
            with signals_kept_from_children():
                # Grain starts the workers that it has made, and makes them when asked for a state.
                self._running.get_state()
                self._running.start_prefetch()

    def _prefetched(self, batches: grain.MapDataset[Batch]) -> grain.IterDataset[Batch]:
        if self._num_workers == 0:
            threads = min(os.cpu_count() or 1, _MAX_THREADS)
            return batches.to_iter_dataset(grain.ReadOptions(threads, threads))
        # To start workers Grain reads its command-line flags, which nobody has parsed in a program
        # that does not run through absl.app.
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        return batches.to_iter_dataset(grain.ReadOptions(1, 1)).mp_prefetch(
            grain.MultiprocessingOptions(
                self._num_workers, per_worker_buffer_size=BUFFERED_BATCHES
            ),
            worker_init_fn=initialise_worker,
        )

    def get_state(self) -> dict[str, Any]:
        """Returns the state after the batches handed out so far, ready for JSON."""
        return {"next_sample": self._next_sample}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes to a state from ``get_state`` of an iterator with the same seed.

        Raises:
            InputError: it is no such state.
        """
        position = state.get("next_sample")
        if not isinstance(position, int) or not 0 <= position <= _LAST_SAMPLE:
            raise InputError(
                f"the place in the training data is {state}; expected the number of a sample, such "
                'as {"next_sample": 0}'
            )
        self.close()
        self._next_sample = position

    def close(self) -> None:
        """Stops threads and workers; the next batch asked for starts them again."""
        if self._running is not None:
            self._running.close()
            self._running = None


def shard_size(batch_size: int, shard_count: int) -> int:
    """How many images of a batch each part has.

    Raises:
        InputError: the batch does not divide by the parts.
    """
    if batch_size <= 0 or batch_size % shard_count:
        raise InputError(
            f"batch size {batch_size} does not divide by the {shard_count} processes that share "
            f"it; expected a positive multiple of {shard_count}"
        )
    return batch_size // shard_count
