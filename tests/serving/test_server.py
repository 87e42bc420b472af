"""Where the server listens, and how it ends."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import nullcontext

import pytest

from gcnet_jax.errors import UsageError
from gcnet_jax.serving import (
    Application,
    Served,
    bound_socket,
    connection,
    is_loopback,
    serve,
    server,
    url_of,
)
from tests.serving.conftest import LIMITS, encoded, half_bright, in_thread, wait_until

PLACES = 3
PHOTO = encoded(half_bright())


def ask(url):
    request = urllib.request.Request(f"{url}/networks/0/result.json", data=PHOTO, method="POST")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def test_what_was_taken_is_answered_after_sigterm_and_nothing_new_is_taken(root):
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.serving.slow_server", str(PLACES)],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        url = process.stdout.readline().strip()
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(ask(url))) for _ in range(PLACES)]
        for thread in threads:
            thread.start()
        assert process.stdout.readline() == "taken\n"
        process.send_signal(signal.SIGTERM)
        time.sleep(0.15)  # until it has noticed
        with pytest.raises(urllib.error.URLError):
            ask(url)
        for thread in threads:
            thread.join()
        assert answers == [[20, 30, 3]] * PLACES
        output, errors = process.communicate(timeout=60)
        assert (process.returncode, output, errors) == (0, "done\n", "")
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def stops():
    """Signals to stop, which must not end the tests where the server does not heed them."""
    came = []
    before = {
        number: signal.signal(number, lambda number, _: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    yield came
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_that_comes_before_the_server_runs_is_heeded(application, stops, number):
    late = threading.Timer(10, lambda: os.kill(os.getpid(), signal.SIGTERM))
    late.start()
    serve(application, bound_socket("127.0.0.1", 0), ready=lambda: os.kill(os.getpid(), number))
    assert late.is_alive()
    late.cancel()
    assert stops == []
    os.kill(os.getpid(), number)
    assert stops == [number]  # as before


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_names_and_addresses_of_this_machine_are_taken_where_it_listens_alone(
    network, queue, stops, host
):
    own = socket.gethostname()
    listening = bound_socket(host, 0)
    port = listening.getsockname()[1]
    statuses = {}

    def ask():
        for name in ("localhost", "192.0.2.2", own, f"{own}.local", "evil.example"):
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            client.request("GET", "/networks", headers={"Host": f"{name}:{port}"})
            statuses[name] = client.getresponse().status
            client.close()
        os.kill(os.getpid(), signal.SIGTERM)

    with in_thread(ask):
        serve(Application([Served("any", network)], [], queue, LIMITS).starlette(), listening)
    others = 200 if host == "0.0.0.0" else 421
    assert statuses == {
        "localhost": 200,
        "192.0.2.2": others,
        own: others,
        f"{own}.local": others,
        "evil.example": 421,
    }


class Long:
    """A result that fills all buffers between a server and its client."""

    def to_plain(self):
        """Some 32 MB."""
        return "x" * (1 << 25)


@pytest.mark.parametrize("path", ["result.json", "layer"])
def test_whoever_does_not_read_keeps_neither_a_place_nor_the_server(
    application, network, queue, stops, monkeypatch, path
):
    monkeypatch.setattr(connection, "_SECONDS_TO_READ", 0.5)
    monkeypatch.setattr(server, "_SECONDS_TO_STOP", 20)
    monkeypatch.setattr(
        "gcnet_jax.serving.application.layer_to_plain", lambda result: {"result": "x" * (1 << 25)}
    )
    monkeypatch.setattr(type(network), "__call__", lambda self, images: [Long()] * len(images))
    listening = bound_socket("127.0.0.1", 0)
    found = []

    def ask():
        with socket.create_connection(listening.getsockname()) as client:
            client.sendall(
                f"POST /networks/0/{path} HTTP/1.1\r\nHost: {listening.getsockname()[0]}\r\n"
                f"Content-Length: {len(PHOTO)}\r\n\r\n".encode()
                + PHOTO
            )
            client.recv(1)  # and nothing more
            wait_until(lambda: queue.taken == 0)
            found.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGTERM)
            ended.wait(30)

    ended = threading.Event()
    with in_thread(ask):
        serve(application, listening)
        ended.set()
    assert time.monotonic() - found[0] < 10


@pytest.mark.parametrize("stops_sent", [[signal.SIGINT] * 2, [signal.SIGTERM]])
def test_a_second_ctrl_c_and_too_long_a_wait_drop_what_is_asked_and_say_so(
    application, network, stops, monkeypatch, capsys, stops_sent
):
    if len(stops_sent) == 1:
        monkeypatch.setattr(server, "_SECONDS_TO_STOP", 0.2)
    network.may_go_on.clear()
    listening = bound_socket("127.0.0.1", 0)
    url = url_of(listening)
    refused = []

    def go():
        with pytest.raises(urllib.error.HTTPError) as caught:
            ask(url)
        refused.append((caught.value.code, json.load(caught.value)["error"]))

    def stop():
        wait_until(lambda: network.batches == [1])
        for number in stops_sent:
            os.kill(os.getpid(), number)
            time.sleep(0.05)

    interrupted = pytest.raises(KeyboardInterrupt)
    with in_thread(go), in_thread(stop), interrupted if stops_sent[1:] else nullcontext():
        serve(application, listening)
    network.may_go_on.set()  # and not before
    assert refused == [(503, "the server has been stopped before this was answered")]
    assert "Traceback" not in capsys.readouterr().err


def test_what_is_answered_leaves_at_once_and_waits_for_no_acknowledgement():
    with bound_socket("127.0.0.1", 0) as listening, socket.socket() as client:
        client.connect(listening.getsockname())
        connection, _ = listening.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_it_listens_at_this_machine_alone_unless_told_otherwise():
    with bound_socket("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        assert is_loopback(listening)
        assert url_of(listening) == f"http://127.0.0.1:{port}"
        with pytest.raises(UsageError, match=rf"--port={port} cannot be listened at \(.*in use"):
            bound_socket("127.0.0.1", port)
    with bound_socket("0.0.0.0", 0) as listening:
        assert not is_loopback(listening)
        assert url_of(listening).startswith("http://127.0.0.1:")


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid", "127.0.0.1/x"])
def test_an_address_of_no_interface_here_is_refused_in_one_line(host):
    with pytest.raises(UsageError, match="cannot be listened at") as refused:
        bound_socket(host, 0)
    assert "\n" not in str(refused.value)
