"""An order of training samples in which every batch is of one bucket.

Images of a bucket have arrays of one shape, so that a batch of them is one array. Which record a
sample is made of follows from its number and the seed alone: all processes agree on the bucket of
each batch, and a run goes on from any batch.

In all epochs together each bucket has as many batches as its share of the records is worth: by the
end of epoch e, bucket b with n_b records has given floor(e n_b / B) batches of B samples. Within an
epoch batches of all buckets are mixed. What fills a bucket's batches is an order of its own, in
which each pass visits every record once before the next begins.
"""

import dataclasses
import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

_OF_BATCHES, _OF_RECORDS = 0, 1  # what is drawn, as a part of its seed


class Drawn(NamedTuple):
    """What a sample is made of: a member of a bucket, by their positions."""

    bucket: int
    member: int


@dataclasses.dataclass(frozen=True)
class BucketedOrder:
    """A function from the number of a sample to what it is made of.

    Attributes:
        counts: number of records in each bucket, one at least in all.
        batch_size: samples of a batch; batch i has those from `i * batch_size` on.
        seed: determines the order.
    """

    counts: tuple[int, ...]
    batch_size: int
    seed: int

    def __call__(self, sample: int) -> Drawn:
        """Returns what a sample is made of, by its number, from 0 on."""
        batch, place = divmod(sample, self.batch_size)
        bucket, before = self._bucket_of(batch)
        count = self.counts[bucket]
        drawn_before, position = divmod(before * self.batch_size + place, count)
        order = _shuffled(self.seed, bucket, drawn_before, count)
        return Drawn(bucket, int(order[position]))

    def _bucket_of(self, batch: int) -> tuple[int, int]:
        """The bucket of a batch, and how many batches it has given before."""
        epoch = self._epoch_of(batch)
        buckets, ordinals = _epoch(self, epoch)
        position = batch - self._batches_before(epoch)
        bucket = int(buckets[position])
        return bucket, self._given_before(epoch, bucket) + int(ordinals[position])

    def _epoch_of(self, batch: int) -> int:
        """The last epoch that begins with that batch or before."""
        # Rounding takes less than a batch of each bucket.
        most = (batch + len(self.counts) + 1) * self.batch_size // sum(self.counts) + 1
        least = 0
        while least < most:
            middle = (least + most + 1) // 2
            if self._batches_before(middle) <= batch:
                least = middle
            else:
                most = middle - 1
        return least

    def _batches_before(self, epoch: int) -> int:
        return sum(self._given_before(epoch, bucket) for bucket in range(len(self.counts)))

    def _given_before(self, epoch: int, bucket: int) -> int:
        return epoch * self.counts[bucket] // self.batch_size

    def given_in(self, epoch: int) -> list[int]:
        """Returns how many batches each bucket gives in an epoch."""
        return [
            self._given_before(epoch + 1, bucket) - self._given_before(epoch, bucket)
            for bucket in range(len(self.counts))
        ]


@functools.lru_cache(maxsize=8)
def _epoch(
    order: BucketedOrder, epoch: int
) -> tuple[Int[np.ndarray, " batches"], Int[np.ndarray, " batches"]]:
    """The bucket of each batch of an epoch, and the how manieth of its bucket there it is."""
    given = order.given_in(epoch)
    rng = np.random.default_rng((order.seed, _OF_BATCHES, epoch))
    buckets = rng.permutation(np.repeat(np.arange(len(given)), given))
    ordinals = np.zeros(len(buckets), int)
    for bucket, count in enumerate(given):
        ordinals[buckets == bucket] = np.arange(count)
    return buckets, ordinals


@functools.lru_cache(maxsize=64)
def _shuffled(seed: int, bucket: int, number: int, count: int) -> Int[np.ndarray, " count"]:
    """The order in which a pass over a bucket visits its records."""
    return np.random.default_rng((seed, _OF_RECORDS, bucket, number)).permutation(count)
