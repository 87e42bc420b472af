"""The server as a process: where it listens, and how it ends."""

import json
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest

from gcnet_jax.errors import UsageError
from gcnet_jax.serving import bound_socket, is_loopback, url_of
from tests.serving.conftest import encoded, half_bright

PLACES = 3


def ask(url):
    request = urllib.request.Request(
        f"{url}/networks/0/result.json", data=encoded(half_bright()), method="POST"
    )
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
