"""How many photos a second a server answers, by how many ask at once, and what memory it holds."""

import collections
import http.client
import io
import itertools
import multiprocessing
import threading
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from etils import epath
from ml_collections import ConfigDict
from PIL import Image

from benchmarks.comparison import print_tables, table, with_spread
from benchmarks.memory import device_name
from benchmarks.scenes import draw_scene
from gcnet_jax.cli.timing import CONSOLE, median_and_spread
from gcnet_jax.config import to_plain
from gcnet_jax.errors import InputError

CONCURRENCY = (1, 2, 4, 8, 16, 32)
"""How many ask at once."""
_MIB = 2**20
_PATH = "/networks/0/result.json"


def measure_serving(
    config: ConfigDict, *, size: tuple[int, int], images: int, rounds: int
) -> dict[str, Any]:
    """Measures, prints and returns the throughput of a server on the loopback address.

    The server is a process of its own, with random weights; its clients are threads of this one,
    each with a connection that it keeps, which sends the same JPEG again and again. Numbers of
    clients take turns. Then some clients send all requests after which memory is looked at.

    Args:
        config: of the network; the data set need not be there.
        size: (height, width) of the photo.
        images: requests in a round, by each number of clients; ten times as many while memory is
            looked at.
        rounds: how often each number of clients has its turn.

    Raises:
        InputError: the server does not start, or a request was not answered as it should be.
    """
    photo = _jpeg(size)
    seconds: dict[int, list[float]] = {clients: [] for clients in CONCURRENCY}
    with _Server(config) as server, CONSOLE.status("asking"):
        for clients in CONCURRENCY:  # each size of batches is compiled
            server.ask(photo, clients=clients, requests=max(2 * clients, 8))
        for _ in range(rounds):
            for clients, times in seconds.items():
                start = time.monotonic()
                server.ask(photo, clients=clients, requests=images)
                times.append(time.monotonic() - start)
        memory = [server.memory()]
        for _ in range(10):
            server.ask(photo, clients=8, requests=images)
            memory.append(server.memory())
    rows = [
        {
            "clients": clients,
            "seconds_of_rounds": times,
            "photos_per_second": median_and_spread([images / x for x in times])._asdict(),
            "times_one_client": median_and_spread(
                [one / x for one, x in zip(seconds[1], times, strict=True)]
            )._asdict(),
        }
        for clients, times in seconds.items()
    ]
    height, width = size
    title = f"photos of {height}x{width}, {images} requests a round, {rounds} rounds"
    speed = table(title, ("photos/s", "times one client"))
    for row in rows:
        speed.add_row(
            f"{row['clients']} at once",
            with_spread(row["photos_per_second"]),
            with_spread(row["times_one_client"]),
        )
    print_tables(speed)
    first, last = memory[0] / _MIB, memory[-1] / _MIB
    requests = images * (rounds * len(CONCURRENCY) + 10)
    print(
        f"memory of the server: {first:.0f} MiB, and {last:.0f} after {10 * images} more requests"
    )
    print(f"{requests} requests, each answered with the same result")
    return {
        "device": device_name(),
        "size": size,
        "images": images,
        "rounds": rounds,
        "rows": rows,
        "memory_bytes": memory,
        "requests": requests,
    }


class _Server:
    """A server in a process of its own.

    Args:
        config: of its network.
    """

    def __init__(self, config: ConfigDict):
        processes = multiprocessing.get_context("spawn")
        self._says, says = processes.Pipe(duplex=False)
        self._process = processes.Process(target=_serve, args=(to_plain(config), says))
        self._results: collections.Counter[bytes] = collections.Counter()

    def __enter__(self) -> "_Server":
        self._process.start()
        while not self._says.poll(1):
            if not self._process.is_alive():
                raise InputError("the server does not start; see above")
        self._address = urlsplit(self._says.recv()).netloc
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()

    def ask(self, photo: bytes, *, clients: int, requests: int) -> None:
        """Sends requests by so many clients at once, and waits for all answers.

        Raises:
            InputError: one failed, or is another than those before.
        """
        numbers = itertools.count()
        failures: list[str] = []

        def work() -> None:
            connection = http.client.HTTPConnection(self._address)
            while next(numbers) < requests and not failures:
                try:
                    connection.request("POST", _PATH, body=photo)
                    answer = connection.getresponse()
                    content = answer.read()
                except (OSError, http.client.HTTPException) as error:
                    failures.append(repr(error))
                    return
                if answer.status != 200:
                    failures.append(f"{answer.status} {content[:200]!r}")
                self._results[content] += 1
            connection.close()

        threads = [threading.Thread(target=work) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise InputError(f"a request of {clients} at once failed: {failures[0]}")
        if len(self._results) > 1:
            raise InputError(f"one photo has {len(self._results)} results")

    def memory(self) -> int:
        """The memory that the process holds, in bytes.

        Raises:
            InputError: the system does not say.
        """
        try:
            status = Path(f"/proc/{self._process.pid}/status").read_text()
        except OSError as error:
            raise InputError("the memory of a process is read from /proc, of Linux") from error
        (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) * 1024


def _serve(plain: Mapping[str, Any], says: Connection) -> None:
    """Serves a config's network with random weights, until the process is ended."""
    from gcnet_jax.serving import (
        Application,
        Served,
        UploadLimits,
        bound_socket,
        queue_for_networks,
        serve,
        url_of,
    )
    from gcnet_jax.task import PretrainedModel
    from gcnet_jax.tasks import task_of
    from gcnet_jax.tasks.configs import from_plain

    config = from_plain(dict(plain))
    task = task_of(config)
    meaning = task.meaning_of_data(config)
    pretrained = PretrainedModel(task.build_model(config, meaning), meaning, epath.Path("random"))
    assert task.prediction is not None
    served = Served("random", task.prediction.network(pretrained, config))
    listening = bound_socket("127.0.0.1", 0)
    with queue_for_networks(places=max(CONCURRENCY)) as queue:
        application = Application([served], [], queue, UploadLimits()).starlette()
        serve(application, listening, ready=lambda: says.send(url_of(listening)))


def _jpeg(size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(draw_scene(0, size).image).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
