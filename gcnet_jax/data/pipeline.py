"""Batches for training, made by Grain.

Training batches are a function of the seed and of their number alone. Neither worker processes,
nor threads, nor a restart in between change them, and the batches of several hosts together hold
exactly the samples of the batch that one host alone would make.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import grain
import numpy as np
from absl import flags
from jaxtyping import Int

from gcnet_jax.data.bucketed_order import BucketedOrder
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

B = TypeVar("B", bound=Mapping[str, Any])

Records = grain.sources.RandomAccessDataSource[Any]
"""Whatever has a length and items, such as a `Split`."""


class Transform(Protocol):
    """Makes samples of records. Worker processes get it pickled.

    Attributes:
        sample_bytes: size of one sample, in bytes.
    """

    @property
    def sample_bytes(self) -> int: ...  # noqa: D102

    def __call__(self, record: Any, rng: np.random.Generator, /) -> Mapping[str, np.ndarray]:
        """Makes, of a record and a source of randomness, the entries of a batch without the batch
        axis."""
        ...


class BucketTransform(Protocol):
    """Makes batches of the records of several buckets. Worker processes get it pickled.

    Attributes:
        sample_bytes: size of a sample on its way between processes, in bytes: an average one of
            the bucket with the largest.
    """

    @property
    def sample_bytes(self) -> int: ...  # noqa: D102

    def __call__(self, record: Any, bucket: int, rng: np.random.Generator, /) -> Any:
        """Makes a sample of a record, its bucket and a source of randomness."""
        ...

    def batch(self, samples: Sequence[Any], /) -> Any:
        """Makes of samples of one bucket what `whole` takes: arrays with as few bytes as it can."""
        ...

    def whole(self, batch: Any, /) -> Mapping[str, np.ndarray]:
        """Makes the batch in the process that wants it; those of a bucket have equal shapes."""
        ...


def shuffled_batches(
    records: Records,
    transform: Transform,
    *,
    batch_size: int,
    seed: int,
    num_workers: int,
    shard_index: int = 0,
    shard_count: int = 1,
) -> "TrainIterator[Any]":
    """Returns an endless iterator over randomly transformed batches.

    Every epoch visits each record once, in an order of its own. A batch may span two epochs.

    Args:
        records: of one split.
        transform: makes a sample of a record.
        batch_size: number of samples a step, over all processes.
        seed: determines order and transforms.
        num_workers: processes that make batches. With 0, threads of this one make them. Otherwise a
            script must guard its entry with `if __name__ == "__main__"`, for workers import it.
        shard_index: which part of each batch to make.
        shard_count: how many parts there are; each has `batch_size / shard_count` samples.

    Raises:
        InputError: if the batch does not divide by the parts.
    """
    local_batch_size = shard_size(batch_size, shard_count)
    samples = grain.MapDataset.source(records).seed(seed).shuffle().repeat().random_map(transform)

    def batches_from(first: int) -> grain.MapDataset[Any]:
        # Sliced only here, after everything random: a sample's randomness follows from its position
        # in the one global sequence, whichever process makes it. Each batch is cut into one piece a
        # process, in order, so that a sample also has the same place in the batch.
        return samples[first:].batch(local_batch_size)[shard_index::shard_count]

    return TrainIterator(
        batches_from,
        examples=len(records),
        batch_size=batch_size,
        batch_bytes=local_batch_size * transform.sample_bytes,
        num_workers=num_workers,
    )


def bucketed_batches(
    records: Records,
    members: Sequence[Int[np.ndarray, " _n"]],
    transform: BucketTransform,
    *,
    batch_size: int,
    seed: int,
    num_workers: int,
    shard_index: int = 0,
    shard_count: int = 1,
) -> "TrainIterator[Any]":
    """Returns an endless iterator over randomly transformed batches of one bucket each.

    For each batch all processes take the same bucket, see `BucketedOrder`. Set to a place within a
    batch, as after one of another size, it goes on with the batch that begins next.

    Args:
        records: of one split.
        members: the records of each bucket, one at least in all.
        transform: makes samples of records, and batches of samples.
        batch_size: as of `shuffled_batches`, as all that follows.
        seed: see there.
        num_workers: see there.
        shard_index: see there.
        shard_count: see there.

    Raises:
        InputError: if the batch does not divide by the parts.
    """
    local_batch_size = shard_size(batch_size, shard_count)
    order = BucketedOrder(tuple(len(of_bucket) for of_bucket in members), batch_size, seed)
    samples = (
        grain.MapDataset.range(_LAST_SAMPLE)
        .seed(seed)
        .random_map(_OfBuckets(records, members, order, transform))
    )

    def batches_from(first: int) -> grain.MapDataset[Any]:
        first = -(-first // batch_size) * batch_size
        batches = samples[first:].batch(local_batch_size, batch_fn=transform.batch)
        return batches[shard_index::shard_count]

    return TrainIterator(
        batches_from,
        examples=sum(order.counts),
        batch_size=batch_size,
        batch_bytes=local_batch_size * transform.sample_bytes,
        num_workers=num_workers,
        finish=transform.whole,
    )


@dataclasses.dataclass(frozen=True)
class _OfBuckets:
    """Makes a sample of its number."""

    records: Records
    members: Sequence[Int[np.ndarray, " _n"]]
    order: BucketedOrder
    transform: BucketTransform

    def __call__(self, sample: int, rng: np.random.Generator) -> Any:
        bucket, member = self.order(int(sample))
        return self.transform(self.records[int(self.members[bucket][member])], bucket, rng)


class TrainIterator(grain.DatasetIterator[B]):
    """Endless iterator over batches whose whole state is the number of the next sample.

    Grain's own iterators keep a state for every worker, which cannot be restored with another
    number of workers. This one starts the workers anew from wherever it is set to, so that a
    checkpoint made on one machine goes on, bitwise the same, on another with more cores or more
    hosts; and, with the samples that come next, in batches of another size. Nothing is started
    before the first batch is asked for.

    Args:
        batches_from: this process's part of each batch, from the batch that begins with the sample
          of a number.
        examples: how many different ones there are: those of an epoch.
        batch_size: samples a batch, over all processes.
        batch_bytes: size of this process's part of a batch, in bytes.
        num_workers: processes that make batches; 0: threads of this one.
        finish: makes, in this process, of what these have made the batches to hand out; by default
          they are it.

    Attributes:
        examples: as given.
    """

    def __init__(
        self,
        batches_from: Callable[[int], grain.MapDataset[Any]],
        *,
        examples: int,
        batch_size: int,
        batch_bytes: int,
        num_workers: int,
        finish: Callable[[Any], B] | None = None,
    ):
        super().__init__()
        self.examples = examples
        self._finish = finish
        self._batches_from = batches_from
        self._batch_size = batch_size
        self._batch_bytes = batch_bytes
        self._num_workers = num_workers
        self._next_sample = 0
        self._running: grain.DatasetIterator[Any] | None = None

    def __next__(self) -> B:
        self.start_prefetch()
        assert self._running is not None
        try:
            batch = next(self._running)
        except RuntimeError as error:  # what Grain raises when a worker is gone
            if "Worker process was terminated" not in str(error):
                raise
            raise InputError(why_ended(exit_code(str(error)))) from error
        self._next_sample += self._batch_size
        return batch if self._finish is None else self._finish(batch)

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

    def _prefetched(self, batches: grain.MapDataset[Any]) -> grain.IterDataset[Any]:
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
        """Goes to a state from `get_state` of an iterator with the same seed.

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
    """Returns how many samples of a batch each part has.

    Raises:
        InputError: the batch does not divide by the parts.
    """
    if batch_size <= 0 or batch_size % shard_count:
        raise InputError(
            f"batch size {batch_size} does not divide by the {shard_count} processes that share "
            f"it; expected a positive multiple of {shard_count}"
        )
    return batch_size // shard_count
