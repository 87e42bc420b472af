"""A server in this process, with a network that needs no weights."""

import contextlib
import io
import threading
import time
from collections.abc import Callable, Iterator
from typing import ClassVar

import numpy as np
import pytest
import uvicorn
from PIL import Image
from starlette.testclient import TestClient

from gcnet_jax.analysis import AttentionMap
from gcnet_jax.serving import (
    Application,
    Guard,
    NetworkQueue,
    Served,
    UploadLimits,
    bound_socket,
    url_of,
)
from gcnet_jax.serving.connection import Connection
from gcnet_jax.tasks.segmentation.data import DatasetClasses
from gcnet_jax.tasks.segmentation.result import SegmentationResult

CLASSES = DatasetClasses(("dark", "bright"), ((20, 40, 160), (240, 200, 30)))
LIMITS = UploadLimits(size=200_000, pixels=50_000, seconds=0.5)


class Brightness:
    """Tells bright pixels from dark ones.

    Attributes:
        batches: how many images each call had.
        may_go_on: an image waits until it is set.
    """

    def __init__(self):
        self.batches: list[int] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def __call__(self, images):
        self.batches.append(len(images))
        self.may_go_on.wait(30)
        return [
            SegmentationResult(image, (image.mean(-1) > 127).astype(np.uint8), CLASSES, None)
            for image in images
        ]


class Rows:
    """Attention of every point to its own row."""

    blocks: ClassVar = {"head.context": True}

    def __call__(self, image, block, point):
        weights = np.zeros((4, 6), np.float32)
        weights[min(int(point[1] * 4), 3)] = 1 / 6
        return AttentionMap(weights, (0.0, 0.0, 1.0, 1.0), of_query=True)


def half_bright(height=20, width=30):
    """An image whose right third is white."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, 2 * width // 3 :] = 255
    return image


def encoded(image, kind="PNG", **options):
    """The bytes of its file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def network() -> Brightness:
    """The network of the server."""
    return Brightness()


@pytest.fixture
def queue() -> Iterator[NetworkQueue]:
    """The queue before it."""
    with NetworkQueue(places=4, batch_size=8) as queue:
        yield queue


@pytest.fixture
def application(network: Brightness, queue: NetworkQueue) -> Guard:
    """What answers."""
    served = [Served("brightness", network, Rows()), Served("the same", network)]
    return Guard(Application(served, [half_bright()], queue, LIMITS).starlette())


@pytest.fixture
def client(application: Guard, network: Brightness) -> Iterator[TestClient]:
    """Asks the server, by its address."""
    yield TestClient(application, base_url="http://127.0.0.1:8000", raise_server_exceptions=False)
    network.may_go_on.set()


@contextlib.contextmanager
def running(application: Guard) -> Iterator[str]:
    """Serves in a thread of this process; gives the address."""
    config = uvicorn.Config(
        application, http=Connection, log_level="warning", lifespan="off", ws="none"
    )
    server, listening = uvicorn.Server(config), bound_socket("127.0.0.1", 0)
    with in_thread(lambda: server.run(sockets=[listening])):
        try:
            yield url_of(listening)
        finally:
            server.should_exit = True


@contextlib.contextmanager
def in_thread(work: Callable[[], object]) -> Iterator[threading.Thread]:
    """Does something meanwhile."""
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(30)


def wait_until(condition: Callable[[], bool]) -> None:
    """Waits until something is so."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)
