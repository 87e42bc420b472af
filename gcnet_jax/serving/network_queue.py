"""A bounded queue before one thread that runs networks, in batches of what waits together."""

import collections
import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from gcnet_jax.errors import InputError

Pixels = UInt8[np.ndarray, "h w 3"]
Work = Callable[[Sequence[Pixels]], Sequence[Any]]
"""Takes RGB images of one size to as many results in their order."""

_MOST_SIZES = 32  # of images, until what was compiled for them is forgotten


class QueueFullError(Exception):
    """So many requests wait that no more are taken."""


class Waiting(NamedTuple):
    """An image that waits for its turn, or has it.

    Attributes:
        work: what is to be done with it.
        image: RGB.
        result: what will come of it; to cancel it gives the turn up.
    """

    work: Work
    image: Pixels
    result: Future


class NetworkQueue:
    """Lets images wait for a network, and sends those through together that may go together.

    Images go together if the same work is to be done with them, and they have one size. Batches
    have 1, 2, 4, 8, ... images, so that few programs are compiled.

    A context manager: its thread starts with the block, and ends with it once everything that
    waits is done.

    Args:
        places: most requests at a time, waiting or under way.
        batch_size: most images that go through together.
        forget: called now and then, when images of many sizes have gone through: for each size
            networks are compiled anew, and a server that runs for months would keep all of it.
    """

    def __init__(
        self, *, places: int, batch_size: int, forget: Callable[[], object] = lambda: None
    ):
        self.places = places
        self._batch_size = batch_size
        self._forget = forget
        self._sizes: set[tuple[int, ...]] = set()
        self._taken = 0
        self._waiting: collections.deque[Waiting] = collections.deque()
        self._under_way = 0
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="networks")

    def __enter__(self) -> "NetworkQueue":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    @property
    def taken(self) -> int:
        """How many of the places are taken."""
        return self._taken

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Holds a place for a request, from before its image is read until it is answered.

        Raises:
            QueueFullError: all places are taken.
        """
        with self._changed:
            if self._taken >= self.places:
                raise QueueFullError
            self._taken += 1
        try:
            yield
        finally:
            with self._changed:
                self._taken -= 1

    def submit(self, work: Work, image: Pixels) -> Waiting:
        """Lets an image wait for its turn."""
        waiting = Waiting(work, image, Future())
        with self._changed:
            self._waiting.append(waiting)
            self._changed.notify()
        return waiting

    def ahead(self, waiting: Waiting) -> int:
        """How many images come before one; 0 once it is under way, or done."""
        with self._changed:
            for position, other in enumerate(self._waiting):
                if other is waiting:
                    return position + self._under_way
        return 0

    def _run(self) -> None:
        while batch := self._next():
            begun = [waiting for waiting in batch if waiting.result.set_running_or_notify_cancel()]
            try:
                self._note_size(batch[0].image.shape)
                _do(begun)
            except Exception as error:  # whoever waits is told, and the thread lives on
                for waiting in begun:
                    if not waiting.result.done():
                        _fail(waiting, error)

    def _note_size(self, size: tuple[int, ...]) -> None:
        self._sizes.add(size)
        if len(self._sizes) > _MOST_SIZES:
            self._sizes = {size}
            self._forget()

    def _next(self) -> list[Waiting]:
        """The next images that go through together; none at the end."""
        with self._changed:
            self._under_way = 0
            while True:
                self._waiting = collections.deque(
                    waiting for waiting in self._waiting if not waiting.result.cancelled()
                )
                if self._waiting or self._closed:
                    break
                self._changed.wait()
            together = [w for w in self._waiting if _may_go_together(self._waiting[0], w)]
            count = min(len(together), self._batch_size)
            batch = together[: 1 << (count.bit_length() - 1)] if count else []
            taken = set(map(id, batch))
            self._waiting = collections.deque(w for w in self._waiting if id(w) not in taken)
            self._under_way = len(batch)
            return batch


def _may_go_together(one: Waiting, other: Waiting) -> bool:
    return one.work is other.work and one.image.shape == other.image.shape


def _do(batch: Sequence[Waiting]) -> None:
    """Does the work of a batch; where it fails, of each image alone, for one may be at fault."""
    if not batch:
        return
    try:
        results = batch[0].work([waiting.image for waiting in batch])
        answered = list(zip(batch, results, strict=True))
    except Exception as error:  # whatever a network raises, the others are served
        if len(batch) == 1:
            _fail(batch[0], error)
            return
        for waiting in batch:
            try:
                (result,) = waiting.work([waiting.image])
            except Exception as error_of_one:
                _fail(waiting, error_of_one)
            else:
                waiting.result.set_result(result)
        return
    for waiting, result in answered:
        waiting.result.set_result(result)


def _fail(waiting: Waiting, error: Exception) -> None:
    if not isinstance(error, InputError):
        logging.getLogger(__name__).error("a network failed", exc_info=error)
    waiting.result.set_exception(error)
