"""Connections that are slow, or end too early, or go on after a refusal."""

import http.client
import json
import socket
from urllib.parse import urlsplit

import pytest

from tests.serving.conftest import LIMITS, encoded, half_bright, in_thread, running, wait_until

PHOTO = encoded(half_bright())
RESULT = "/networks/0/result.json"


@pytest.fixture
def address(application, network):
    with running(application) as url:
        yield urlsplit(url).netloc
        network.may_go_on.set()


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
    connection = http.client.HTTPConnection(address, timeout=30)
    connection.request("POST", RESULT, body=PHOTO)
    status = connection.getresponse().status
    connection.close()
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
    connection = http.client.HTTPConnection(address, timeout=30)
    for body, status in ((b"no photo", 422), (PHOTO, 200), (PHOTO[:30], 422), (PHOTO, 200)):
        connection.request("POST", RESULT, body=body)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status
    connection.close()


def test_too_many_bytes_are_refused_before_they_have_come(address):
    with connected(address) as large:
        large.sendall(head(address, 10**12))
        answer = http.client.HTTPResponse(large)
        answer.begin()
        assert answer.status == 413


@pytest.mark.parametrize(
    "request_", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"]
)
def test_what_is_no_request_or_says_no_host_is_refused(address, request_):
    with connected(address) as connection:
        connection.sendall(request_)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 400


def test_a_second_host_is_refused(address):
    with connected(address) as connection:
        request = f"GET / HTTP/1.1\r\nHost: {address}\r\nHost: evil.example\r\n\r\n"
        connection.sendall(request.encode())
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 400
