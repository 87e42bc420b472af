"""Connections that are slow, or end too early, or go on after a refusal."""

import contextlib
import http.client
import json
import logging
import socket
import time
from urllib.parse import urlsplit

import pytest

from gcnet_jax.serving import connection
from tests.serving.conftest import LIMITS, encoded, half_bright, in_thread, running, wait_until

PHOTO = encoded(half_bright())
RESULT = "/networks/0/result.json"


@pytest.fixture
def address(application, network):
    with running(application) as url:
        yield urlsplit(url).netloc
        network.may_go_on.set()


@pytest.fixture
def server_log(address, caplog):
    """What the server logs, which pytest would else not see."""
    logger = logging.getLogger("uvicorn.error")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


def connected(address):
    host, port = address.split(":")
    return socket.create_connection((host, int(port)), timeout=30)


def head(address, length, path=RESULT):
    return f"POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\n\r\n".encode()


@pytest.mark.parametrize("path", [RESULT, "/networks/0/layer"])
def test_whoever_goes_away_while_waiting_gives_the_turn_up(address, network, queue, path):
    network.may_go_on.clear()
    with in_thread(lambda: ask(address)):
        wait_until(lambda: network.batches == [1])
        with connected(address) as gone:
            gone.sendall(head(address, len(PHOTO), path) + PHOTO)
            wait_until(lambda: queue.taken == 2)
        wait_until(lambda: queue.taken == 1)
        network.may_go_on.set()
    assert ask(address) == 200
    assert network.batches == [1, 1]  # and nothing was done for nobody


def ask(address):
    client = http.client.HTTPConnection(address, timeout=30)
    client.request("POST", RESULT, body=PHOTO)
    status = client.getresponse().status
    client.close()
    return status


def test_whoever_goes_away_while_sending_leaves_its_place(address, queue):
    with connected(address) as gone:
        gone.sendall(head(address, len(PHOTO)) + PHOTO[:10])
        wait_until(lambda: queue.taken == 1)
    wait_until(lambda: queue.taken == 0)
    assert ask(address) == 200


def test_a_body_that_comes_too_slowly_is_refused_and_leaves_its_place(address, queue):
    with connected(address) as slow:
        slow.sendall(head(address, len(PHOTO)) + PHOTO[:10])
        answer = http.client.HTTPResponse(slow)
        answer.begin()
        assert answer.status == 408
        assert f"within {LIMITS.seconds:g} s" in json.loads(answer.read())["error"]
    assert queue.taken == 0


def test_a_connection_goes_on_after_a_refusal(address):
    client = http.client.HTTPConnection(address, timeout=30)
    for body, status in ((b"no photo", 422), (PHOTO, 200), (PHOTO[:30], 422), (PHOTO, 200)):
        client.request("POST", RESULT, body=body)
        answer = client.getresponse()
        answer.read()
        assert answer.status == status
    client.close()


def test_too_many_bytes_are_refused_before_they_have_come(address):
    with connected(address) as large:
        large.sendall(head(address, 10**12))
        answer = http.client.HTTPResponse(large)
        answer.begin()
        assert answer.status == 413


BROKEN = {
    "nonsense": b"nonsense\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\0\x01\0\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "no host in HTTP/1.0": b"GET / HTTP/1.0\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
    "a length that is none": b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
    "a long head": b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: " + b"x" * 70_000,
    "a body that breaks off": (
        f"POST {RESULT} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        "5\r\nphoto\r\nnonsense\r\n"
    ).encode(),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_request_is_refused_in_json_and_the_next_is_answered(
    address, queue, server_log, kind
):
    with connected(address) as client:
        client.sendall(BROKEN[kind])
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert (answer.status, answer.headers["content-type"]) == (400, "application/json")
        assert json.loads(answer.read())["error"]
    assert ask(address) == 200
    assert queue.taken == 0
    assert "Traceback" not in server_log.text


def test_an_upgrade_is_not_taken_up_and_no_package_is_asked_for(address, server_log):
    with connected(address) as client:
        upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n"
        client.sendall(f"GET /networks HTTP/1.1\r\nHost: {address}\r\n{upgrade}\r\n".encode())
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert answer.status == 200
    assert "pip install" not in server_log.text


def is_cut(client):
    """Whether the server ends a connection, and does not just leave it."""
    client.settimeout(10)
    with contextlib.suppress(ConnectionError):
        while client.recv(1 << 16):
            pass
    return True


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nHost: "])
def test_whoever_does_not_ask_is_cut_and_whoever_waits_for_an_answer_is_not(
    address, network, monkeypatch, begun
):
    monkeypatch.setattr(connection, "_SECONDS_TO_ASK", 0.2)
    network.may_go_on.clear()
    with connected(address) as asks, connected(address) as silent:
        asks.sendall(head(address, len(PHOTO)) + PHOTO)
        silent.sendall(begun)
        assert is_cut(silent)
        time.sleep(0.1)
        network.may_go_on.set()
        answer = http.client.HTTPResponse(asks)
        answer.begin()
        assert answer.status == 200


def trickle(client):
    end = time.monotonic() + 4  # seconds, fewer than an idle connection is kept
    while time.monotonic() < end:
        client.sendall(b"x")
        time.sleep(0.02)


def test_whoever_goes_on_with_a_body_that_nobody_reads_is_cut(address, monkeypatch):
    monkeypatch.setattr(connection, "_SECONDS_TO_ASK", 0.2)
    with connected(address) as client:
        client.sendall(head(address, 10**12))
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert answer.status == 413
        with pytest.raises(ConnectionError):
            trickle(client)


def test_silent_connections_keep_nobody_out(address, monkeypatch):
    monkeypatch.setattr(connection, "CONNECTIONS", 4)
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(connected(address)) for _ in range(8)]
        for client in silent[::2]:
            client.sendall(b"GET / HTTP/1.1\r\nHost: ")
        assert [ask(address) for _ in range(3)] == [200] * 3
        assert all(map(is_cut, silent[:4]))  # those that came first
        silent[-1].sendall(f"GET / HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
        answer = http.client.HTTPResponse(silent[-1])
        answer.begin()
        assert answer.status == 200


def test_where_all_connections_are_at_work_a_new_one_is_told_to_try_again(
    address, network, monkeypatch
):
    monkeypatch.setattr(connection, "CONNECTIONS", 1)
    network.may_go_on.clear()
    with in_thread(lambda: ask(address)):
        wait_until(lambda: network.batches == [1])
        client = http.client.HTTPConnection(address, timeout=30)
        client.request("GET", "/networks")
        answer = client.getresponse()
        assert (answer.status, answer.headers["content-type"]) == (503, "application/json")
        assert int(answer.headers["retry-after"]) > 0
        assert "try again" in json.loads(answer.read())["error"]
        client.close()
        network.may_go_on.set()
    assert ask(address) == 200
