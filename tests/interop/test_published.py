"""Fetching published files, from a server on the loopback address."""

import concurrent.futures
import hashlib
import http.client
import http.server
import os
import socket
import threading
import time
import urllib.request

import pytest

from gcnet_jax.config import published_runs
from gcnet_jax.errors import InputError
from gcnet_jax.interop import PublishedFile, download, fetch_published, published_files
from gcnet_jax.tasks.configs import load_config
from gcnet_jax.tasks.segmentation.config import default_config
from gcnet_jax.tasks.segmentation.task import TASK as segmentation
from gcnet_jax.training.pretrained import load_pretrained

CONTENT = bytes(range(256)) * 5000


class Server(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT; `settings` says how well."""

    def do_GET(self):
        settings = self.server.settings
        self.server.requests.append(self.headers.get("Range"))
        content, start = settings["content"], 0
        if settings["ranges"] and (wanted := self.headers.get("Range")):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:][: settings["breaks_after"]])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        running.settings = {"ranges": True, "content": CONTENT, "breaks_after": None}
        running.requests = []
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def files(server):
    address = f"http://127.0.0.1:{server.server_address[1]}/folder/run-1234.pth"
    return {"run": PublishedFile(address, hashlib.sha256(CONTENT).hexdigest()[:8])}


def test_a_file_is_fetched_once_and_then_taken_from_the_cache(server, files, tmp_path):
    path = fetch_published("run", cache_dir=tmp_path / "cache", files=files)
    assert path == tmp_path / "cache" / "run-1234.pth"
    assert path.read_bytes() == CONTENT
    assert fetch_published("run", cache_dir=tmp_path / "cache", files=files) == path
    assert len(server.requests) == 1
    assert {p.name for p in path.parent.iterdir()} == {"run-1234.pth", "run-1234.pth.sha256"}


@pytest.mark.parametrize("ranges", [True, False], ids=["continued", "started-again"])
def test_a_broken_download_goes_on_where_the_server_can_and_starts_again_where_not(
    server, files, tmp_path, ranges
):
    server.settings |= {"breaks_after": 300_000, "ranges": ranges}
    with pytest.raises(InputError, match=r"broke off after 300000 of 1280000 bytes"):
        fetch_published("run", cache_dir=tmp_path, files=files)
    assert [p.name for p in tmp_path.iterdir()] == ["run-1234.pth.partial"]
    server.settings |= {"breaks_after": None}
    assert fetch_published("run", cache_dir=tmp_path, files=files).read_bytes() == CONTENT
    assert server.requests == [None, "bytes=300000-"]


def test_a_download_that_was_whole_but_not_renamed_is_taken(server, files, tmp_path):
    (tmp_path / "run-1234.pth.partial").write_bytes(CONTENT)
    assert fetch_published("run", cache_dir=tmp_path, files=files).read_bytes() == CONTENT


def test_content_with_another_hash_is_removed_and_never_given_out(server, files, tmp_path):
    server.settings["content"] = CONTENT[:-1] + b"x"
    with pytest.raises(InputError, match=r"run-1234\.pth has SHA-256 \w+, which does not begin"):
        fetch_published("run", cache_dir=tmp_path, files=files)
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_in_the_cache_is_fetched_again(server, files, tmp_path):
    (tmp_path / "run-1234.pth").write_bytes(CONTENT[:1000])
    assert fetch_published("run", cache_dir=tmp_path, files=files).read_bytes() == CONTENT
    assert (tmp_path / "run-1234.pth.damaged").read_bytes() == CONTENT[:1000]


def test_without_a_network_the_address_and_the_way_by_hand_are_named(tmp_path):
    files = {"run": PublishedFile("http://127.0.0.1:9/run.pth", "abcd")}
    with pytest.raises(InputError) as caught:
        fetch_published("run", cache_dir=tmp_path, files=files)
    for part in ("http://127.0.0.1:9/run.pth", "By hand", "abcd", str(tmp_path / "run.pth")):
        assert part in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_page_that_is_not_there_is_an_error_with_the_status(server, files, tmp_path, monkeypatch):
    monkeypatch.setattr(Server, "do_GET", lambda self: self.send_error(404))
    with pytest.raises(InputError, match="Not Found"):
        fetch_published("run", cache_dir=tmp_path, files=files)


# Several at once ---------------------------------------------------------------------------------


def six_at_once(files, folder):
    """What each of six got: a path, or an error."""

    def fetch(_):
        try:
            return fetch_published("run", cache_dir=folder, files=files)
        except InputError as error:
            return error

    with concurrent.futures.ThreadPoolExecutor(6) as threads:
        return list(threads.map(fetch, range(6)))


def test_six_downloads_of_a_file_at_once_all_succeed_and_one_of_them_fetches(
    server, files, tmp_path
):
    assert six_at_once(files, tmp_path) == [tmp_path / "run-1234.pth"] * 6
    assert len(server.requests) == 1
    assert {p.name for p in tmp_path.iterdir()} == {"run-1234.pth", "run-1234.pth.sha256"}


@pytest.mark.parametrize("harm", [{"breaks_after": 300_000}, {"content": CONTENT[:-1] + b"x"}])
def test_where_one_of_six_fails_another_goes_on(server, files, tmp_path, monkeypatch, harm):
    do_get, spoiled = Server.do_GET, threading.Event()

    def first_spoiled(self):
        self.server.settings |= {"breaks_after": None, "content": CONTENT}
        if not spoiled.is_set():
            spoiled.set()
            self.server.settings |= harm
        do_get(self)

    monkeypatch.setattr(Server, "do_GET", first_spoiled)
    results = six_at_once(files, tmp_path)
    assert results.count(tmp_path / "run-1234.pth") == 5
    assert len(server.requests) == 2
    assert {p.name for p in tmp_path.iterdir()} == {"run-1234.pth", "run-1234.pth.sha256"}


def test_a_damaged_file_is_fetched_by_one_of_six(server, files, tmp_path):
    (tmp_path / "run-1234.pth").write_bytes(b"damaged")
    assert six_at_once(files, tmp_path) == [tmp_path / "run-1234.pth"] * 6
    assert len(server.requests) == 1


# What was fetched first --------------------------------------------------------------------------


@pytest.fixture
def colliding(files):
    """The same file, whose hash is published so briefly that others have it too."""
    return {"run": files["run"]._replace(sha256_prefix="")}


def test_the_whole_hash_of_what_was_fetched_first_is_kept_for_sha256sum(server, files, tmp_path):
    fetch_published("run", cache_dir=tmp_path, files=files)
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert (tmp_path / "run-1234.pth.sha256").read_text() == f"{digest}  run-1234.pth\n"


def test_another_file_with_the_same_few_digits_is_refused_from_then_on(server, colliding, tmp_path):
    path = fetch_published("run", cache_dir=tmp_path, files=colliding)
    path.unlink()
    server.settings["content"] = b"another file"
    message = r"has SHA-256 \w+, and not \w+ as what was fetched first .*delete .*\.sha256.*removed"
    with pytest.raises(InputError, match=message):
        fetch_published("run", cache_dir=tmp_path, files=colliding)
    assert [p.name for p in tmp_path.iterdir()] == ["run-1234.pth.sha256"]
    (tmp_path / "run-1234.pth.sha256").unlink()
    assert fetch_published("run", cache_dir=tmp_path, files=colliding).read_bytes() == (
        b"another file"
    )


def test_a_file_that_was_exchanged_in_the_cache_is_set_aside(server, colliding, tmp_path):
    path = fetch_published("run", cache_dir=tmp_path, files=colliding)
    path.write_bytes(b"another file")
    assert fetch_published("run", cache_dir=tmp_path, files=colliding).read_bytes() == CONTENT
    assert (tmp_path / "run-1234.pth.damaged").read_bytes() == b"another file"


def test_the_hash_of_a_file_that_was_put_there_by_hand_is_kept_too(server, files, tmp_path):
    (tmp_path / "run-1234.pth").write_bytes(CONTENT)
    fetch_published("run", cache_dir=tmp_path, files=files)
    assert not server.requests
    assert {p.name for p in tmp_path.iterdir()} == {"run-1234.pth", "run-1234.pth.sha256"}


def test_a_cache_that_cannot_be_written_serves_what_it_has(server, files, tmp_path, monkeypatch):
    (tmp_path / "run-1234.pth").write_bytes(CONTENT)
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    assert fetch_published("run", cache_dir=tmp_path, files=files) == tmp_path / "run-1234.pth"
    assert [p.name for p in tmp_path.iterdir()] == ["run-1234.pth"]


def test_a_kept_hash_that_is_none_is_named(files, tmp_path):
    (tmp_path / "run-1234.pth").write_bytes(CONTENT)
    (tmp_path / "run-1234.pth.sha256").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"run-1234\.pth\.sha256 holds no SHA-256; delete it"):
        fetch_published("run", cache_dir=tmp_path, files=files)


def test_a_folder_that_cannot_be_written_is_named(files, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"run-1234\.pth cannot be read or written"):
        fetch_published("run", cache_dir=tmp_path / "file" / "cache", files=files)


# Servers that answer otherwise than they should --------------------------------------------------


def answers(monkeypatch, raw: bytes):
    """Has the server send these bytes, and nothing else."""

    def do_get(self):
        self.server.requests.append(self.headers.get("Range"))
        self.wfile.write(raw)
        self.close_connection = True

    monkeypatch.setattr(Server, "do_GET", do_get)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\nx", r"says that there are 'abc' bytes"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nx", r"says that there are '-5' bytes"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1e9\r\n\r\nx", r"says that there are '1e9' bytes"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\nx",
            r"says that there are",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3000000000\r\n\r\nx", r"sends 3000000000 bytes; exp"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nx", r"broke off after 1 of 5 bytes"),
        (b"HTTP/1.1 206 Partial Content\r\n\r\nx", r"answers with status 206"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", r"answers with status 204"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", r"cannot download"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc", r"cannot download"),
        (b"220 smtp.example\r\n", r"cannot download"),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 500, r"cannot download"),
        (b"", r"cannot download"),
        (b"HTTP/1.1 500 \x1b[31mboom\x1b[0m\r\n\r\n", r"\\x1b\[31mboom"),
        (b"HTTP/1.1 302 Found\r\n\r\n", r"Found"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://[\r\n\r\n", r"Invalid IPv6 URL"),
        (
            b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n",
            r"leads from http to file:",
        ),
        (b"HTTP/1.1 302 Found\r\nLocation: ftp://127.0.0.1/x\r\n\r\n", r"leads from http to ftp:"),
        (b"HTTP/1.1 302 Found\r\nLocation: /\x1b[2J\r\n\r\n", r"cannot download"),
        (b"HTTP/1.1 302 Found\r\nLocation: /again\r\n\r\n", r"redirects more than 5 times"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_an_odd_answer_is_one_clear_error(server, files, tmp_path, monkeypatch, raw, says):
    answers(monkeypatch, raw)
    with pytest.raises(InputError, match=says) as caught:
        fetch_published("run", cache_dir=tmp_path, files=files)
    message = str(caught.value)
    assert message.startswith("cannot download http://127.0.0.1:")
    assert "By hand" in message
    assert "\x1b" not in message
    assert len(message.splitlines()) == 1


def test_another_part_than_was_asked_for_is_not_put_behind_the_first(
    server, files, tmp_path, monkeypatch
):
    (tmp_path / "run-1234.pth.partial").write_bytes(CONTENT[:1000])
    do_get = Server.do_GET

    def wrong_part(self):
        if self.headers.get("Range"):
            self.headers.replace_header("Range", "bytes=500-")
        do_get(self)

    monkeypatch.setattr(Server, "do_GET", wrong_part)
    assert fetch_published("run", cache_dir=tmp_path, files=files).read_bytes() == CONTENT
    assert server.requests == ["bytes=500-", None]


def redirects(monkeypatch, location: str, megabytes: int = 0):
    """Has the server lead elsewhere, with that much beside it; it notes how much was taken."""
    do_get = Server.do_GET

    def do_get_elsewhere(self):
        if self.path.startswith("/folder/"):
            self.send_response(302)
            self.send_header("Location", location.format(port=self.server.server_address[1]))
            self.end_headers()
            for _ in range(megabytes):
                self.wfile.write(bytes(1 << 20))
                self.server.megabytes_taken += 1
        else:
            do_get(self)

    monkeypatch.setattr(Server, "do_GET", do_get_elsewhere)
    monkeypatch.setattr(http.server.ThreadingHTTPServer, "handle_error", lambda *_: None)


@pytest.fixture
def https(files, monkeypatch):
    """The files at addresses of HTTPS, which here is spoken as HTTP."""
    monkeypatch.setattr(
        urllib.request.HTTPSHandler,
        "https_open",
        lambda self, request: self.do_open(http.client.HTTPConnection, request),
    )
    return {
        name: file._replace(address=file.address.replace("http:", "https:"))
        for name, file in files.items()
    }


@pytest.mark.parametrize("location", ["https://127.0.0.1:{port}/mirror", "/mirror", "../mirror"])
def test_https_may_lead_to_https(server, https, tmp_path, monkeypatch, location):
    redirects(monkeypatch, location)
    assert fetch_published("run", cache_dir=tmp_path, files=https).read_bytes() == CONTENT


def test_https_never_leads_to_http(server, https, tmp_path, monkeypatch):
    redirects(monkeypatch, "http://127.0.0.1:{port}/mirror")
    with pytest.raises(InputError, match=r"leads from https to http://127.*; expected https"):
        fetch_published("run", cache_dir=tmp_path, files=https)
    assert not server.requests
    assert not list(tmp_path.iterdir())


def test_what_comes_with_a_redirect_is_not_taken_into_memory(server, files, tmp_path, monkeypatch):
    redirects(monkeypatch, "/mirror", megabytes=300)
    server.megabytes_taken = 0
    assert fetch_published("run", cache_dir=tmp_path, files=files).read_bytes() == CONTENT
    assert server.megabytes_taken < 100


def test_a_file_without_end_is_given_up_and_removed(server, files, tmp_path, monkeypatch):
    def endless(self):
        self.send_response(200)
        self.end_headers()
        while True:
            self.wfile.write(bytes(1 << 16))

    monkeypatch.setattr(Server, "do_GET", endless)
    monkeypatch.setattr(http.server.ThreadingHTTPServer, "handle_error", lambda *_: None)
    monkeypatch.setattr(download, "_MOST_BYTES", 1 << 20)
    with pytest.raises(InputError, match=r"sends more bytes; expected at most 1048576"):
        fetch_published("run", cache_dir=tmp_path, files=files)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("beginning", [b"HTTP/1.1 200 ", b"HTTP/1.1 200 OK\r\n\r\n", b""])
def test_a_server_that_drips_is_given_up_in_time(server, files, tmp_path, monkeypatch, beginning):
    def drip(self):
        self.wfile.write(beginning)
        while True:
            self.wfile.write(b"O")
            time.sleep(0.02)

    monkeypatch.setattr(Server, "do_GET", drip)
    monkeypatch.setattr(http.server.ThreadingHTTPServer, "handle_error", lambda *_: None)
    monkeypatch.setattr(download, "_MOST_SECONDS", 0.36)
    start = time.monotonic()
    with pytest.raises(InputError, match=r"it took more than 0\.0001 hours; try again to go on"):
        fetch_published("run", cache_dir=tmp_path, files=files)
    assert time.monotonic() - start < 5


def test_a_server_that_is_silent_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_SILENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/run.pth"
        with pytest.raises(InputError, match=r"timed out"):
            fetch_published("run", cache_dir=tmp_path, files={"run": PublishedFile(address, "")})


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(InputError, match=r"no published weights 'gcnet'.*resnet50_v1c"):
        fetch_published("gcnet")


def test_all_published_runs_and_backbones_have_an_address_that_holds_their_hash(root):
    files = published_files()
    folders = {"gcnet": "mmsegmentation/v0.5/", "coco": "mmdetection/v2.0/"}
    for folder, place in folders.items():
        for run in (path.stem for path in (root / "configs" / folder).glob("*.py")):
            assert files[run].address.startswith(f"https://download.openmmlab.com/{place}")
    assert len(published_runs()) == 16 + 23
    theirs = {"resnet50_v1c", "resnet101_v1c", "resnext101_32x4d"}
    of_torchvision = {"resnet50_v1b", "resnet101_v1b"}
    assert files.keys() == {*published_runs(), *theirs, *of_torchvision}
    assert len({file.sha256_prefix for file in files.values()}) == len(files)
    for name, file in files.items():
        assert file.address.endswith(f"-{file.sha256_prefix}.pth")
        host = "download.pytorch.org/models" if name in of_torchvision else "download.openmmlab.com"
        assert file.address.startswith(f"https://{host}/")


def test_published_means_the_weights_of_the_configs_run(root, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(
        "gcnet_jax.training.pretrained.fetch_published",
        lambda name: asked.append(name) or tmp_path / name,
    )
    run = "gcnet_r50-d8_4xb2-40k_cityscapes-512x1024"
    with pytest.raises(InputError):  # the file that the stand-in names is not there
        load_pretrained(
            segmentation, load_config(root / "configs" / "gcnet" / f"{run}.py"), "published"
        )
    assert asked == [run]


def test_a_config_that_is_no_published_run_says_so():
    with pytest.raises(InputError, match="this config is no published run"):
        load_pretrained(segmentation, default_config(), "published")
