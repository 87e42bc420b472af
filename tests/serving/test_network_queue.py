"""Batches, turns and the end of the queue before a network."""

import threading
from concurrent.futures import CancelledError

import numpy as np
import pytest

from gcnet_jax.errors import InputError
from gcnet_jax.serving import NetworkQueue, QueueFullError, queue_for_networks


class Recorder:
    """Work that takes as long as it is told to, and returns each image's first value."""

    def __init__(self):
        self.batches = []
        self.begun, self.may_go_on = threading.Event(), threading.Event()

    def __call__(self, images):
        values = [int(image[0, 0, 0]) for image in images]
        self.batches.append(values)
        self.begun.set()
        assert self.may_go_on.wait(30)
        if 13 in values:
            raise InputError("13 is refused")
        return values


def image(value, size=(4, 4)):
    return np.full((*size, 3), value, np.uint8)


@pytest.fixture
def work():
    return Recorder()


@pytest.fixture
def queue(work):
    with NetworkQueue(places=2, batch_size=8) as queue:
        yield queue
        work.may_go_on.set()


def under_way(queue, work):
    """Submits an image, and returns once the thread is at it."""
    first = queue.submit(work, image(0))
    assert work.begun.wait(30)
    return first


def test_images_of_one_size_go_together_in_batches_of_few_sizes(queue, work):
    first = under_way(queue, work)
    sizes = {9: (4, 5)}  # and all others of one size, before it and after
    values = [1, 9, 2, 3, 4, 5, 6]
    turns = [queue.submit(work, image(value, sizes.get(value, (4, 4)))) for value in values]
    work.may_go_on.set()
    assert [x.result.result(30) for x in [first, *turns]] == [0, *values]
    assert work.batches == [[0], [1, 2, 3, 4], [9], [5, 6]]


def test_what_jax_has_compiled_is_what_the_queue_of_networks_forgets(work, monkeypatch):
    forgotten = []
    monkeypatch.setattr("jax.clear_caches", lambda: forgotten.append(len(work.batches)))
    work.may_go_on.set()
    with queue_for_networks(places=1) as queue:
        for width in range(1, 34):
            queue.submit(work, image(1, (4, width))).result.result(30)
    assert forgotten == [32]


def test_different_work_never_goes_together(queue, work):
    under_way(queue, work)
    other = Recorder()
    other.may_go_on.set()
    turns = [queue.submit(which, image(1)) for which in (work, other, work)]
    work.may_go_on.set()
    assert [turn.result.result(30) for turn in turns] == [1, 1, 1]
    assert other.batches == [[1]]


def test_one_bad_image_of_a_batch_fails_alone(queue, work):
    under_way(queue, work)
    turns = [queue.submit(work, image(value)) for value in (1, 13)]
    work.may_go_on.set()
    assert turns[0].result.result(30) == 1
    with pytest.raises(InputError, match="13 is refused"):
        turns[1].result.result(30)


def test_a_turn_says_how_many_come_before_it_and_can_be_given_up(queue, work):
    first = under_way(queue, work)
    second, third = queue.submit(work, image(1)), queue.submit(work, image(2))
    assert [queue.ahead(x) for x in (first, second, third)] == [0, 1, 2]
    second.result.cancel()
    work.may_go_on.set()
    assert third.result.result(30) == 2
    with pytest.raises(CancelledError):
        second.result.result(30)
    assert [1] not in work.batches
    assert queue.ahead(third) == 0


def test_places_are_bounded_and_come_back(queue):
    with queue.place(), queue.place(), pytest.raises(QueueFullError), queue.place():
        pass
    with queue.place():
        pass


def test_the_end_finishes_what_waits(work):
    with NetworkQueue(places=2, batch_size=1) as queue:
        under_way(queue, work)
        last = queue.submit(work, image(5))
        work.may_go_on.set()
    assert last.result.result(0) == 5


def test_results_of_another_number_than_images_fail_their_batch_and_no_other(queue, work):
    under_way(queue, work)

    def nothing(images):
        return []

    short = [queue.submit(nothing, image(value)) for value in (1, 2)]
    work.may_go_on.set()
    for turn in short:
        with pytest.raises(ValueError, match="values to unpack"):
            turn.result.result(30)
    assert queue.submit(work, image(3)).result.result(30) == 3


def test_when_forgetting_fails_so_does_one_batch_and_no_other(work):
    def fail():
        raise RuntimeError("nothing is forgotten")

    work.may_go_on.set()
    with NetworkQueue(places=2, batch_size=1, forget=fail) as queue:
        for width in range(1, 33):
            queue.submit(work, image(1, (4, width))).result.result(30)
        with pytest.raises(RuntimeError, match="nothing is forgotten"):
            queue.submit(work, image(1, (4, 33))).result.result(30)
        assert queue.submit(work, image(2, (4, 34))).result.result(30) == 2


def test_what_was_compiled_for_many_sizes_is_forgotten(work):
    work.may_go_on.set()
    forgotten = []

    def forget():
        forgotten.append(len(work.batches))

    with NetworkQueue(places=2, batch_size=1, forget=forget) as queue:
        for width in [*range(1, 33), *range(1, 33), 40, 41, *range(2, 33)]:
            queue.submit(work, image(1, (4, width))).result.result(30)
    assert forgotten == [64, 96]
