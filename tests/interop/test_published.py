"""Fetching published files, from a server on the loopback address."""

import hashlib
import http.server
import threading

import pytest

from gcnet_jax.config import default_config, load_config
from gcnet_jax.errors import InputError
from gcnet_jax.interop import PublishedFile, fetch_published, published_files
from gcnet_jax.pretrained import load_pretrained

CONTENT = bytes(range(256)) * 5000


class Server(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT; `settings` says how well."""

    def do_GET(self):
        settings = self.server.settings
        self.server.requests.append(self.headers.get("Range"))
        start = 0
        if settings["ranges"] and (wanted := self.headers.get("Range")):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(CONTENT):
                self.send_error(416)
                return
            self.send_response(206)
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        content = settings["content"][start:]
        self.wfile.write(content[: settings["breaks_after"]])

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
    assert [p.name for p in path.parent.iterdir()] == ["run-1234.pth"]


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


def test_a_page_that_is_not_there_is_an_error_with_the_status(server, files, tmp_path, monkeypatch):
    monkeypatch.setattr(Server, "do_GET", lambda self: self.send_error(404))
    with pytest.raises(InputError, match="Not Found"):
        fetch_published("run", cache_dir=tmp_path, files=files)


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(InputError, match=r"no published weights 'gcnet'.*resnet50_v1c"):
        fetch_published("gcnet")


def test_the_sixteen_runs_and_both_backbones_have_an_address_that_holds_their_hash(root):
    files = published_files()
    runs = {path.stem for path in (root / "configs" / "gcnet").glob("*.py")}
    assert len(runs) == 16
    assert files.keys() == runs | {"resnet50_v1c", "resnet101_v1c"}
    for published in files.values():
        assert published.address.startswith("https://download.openmmlab.com/")
        assert published.address.endswith(f"-{published.sha256_prefix}.pth")


def test_published_means_the_weights_of_the_configs_run(root, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(
        "gcnet_jax.pretrained.fetch_published", lambda name: asked.append(name) or tmp_path / name
    )
    run = "gcnet_r50-d8_4xb2-40k_cityscapes-512x1024"
    with pytest.raises(InputError):  # the file that the stand-in names is not there
        load_pretrained(load_config(root / "configs" / "gcnet" / f"{run}.py"), "published")
    assert asked == [run]


def test_a_config_that_is_no_published_run_says_so():
    with pytest.raises(InputError, match="this config is no published run"):
        load_pretrained(default_config(), "published")
