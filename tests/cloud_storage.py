"""A stand-in for Google Cloud Storage: objects in memory behind a server on the loopback address.

The C++ clients of TensorStore (arrays) and array_record (records) talk to it as to the real one.
For paths (`etils.epath`) there is a `gcsfs` in `cloud_modules`, for Orbax a `google.cloud.storage`;
processes that the tests start find both, for the folder is in `PYTHONPATH`. What cannot be seen
with it: credentials, permissions, quotas, delays, and the code of the real gcsfs.
"""

import http.server
import json
import re
import sys
import threading
import urllib.parse
from pathlib import Path
from typing import Any

import fsspec
import pytest
from etils import epath
from etils.epath import backend

_MODULES = Path(__file__).parent / "cloud_modules"


class Objects:
    """All objects of all buckets, by `bucket/name`: no folders, only names with slashes.

    Attributes:
        buckets: those there are; a test adds its own.
        requests: for contents, by the clients in C++.
        refuses: nothing, "writes" or "everything".
    """

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.generations: dict[str, int] = {}
        self.buckets: set[str] = set()
        self.requests: list[str] = []
        self.refuses = "nothing"

    def put(self, path: str, content: bytes) -> int:
        """Writes an object and returns the number of this version."""
        self.contents[path] = content
        self.generations[path] = self.generations.get(path, 0) + 1
        return self.generations[path]

    def delete(self, path: str) -> None:
        """Removes an object."""
        del self.contents[path]


class Server(http.server.ThreadingHTTPServer):
    """The few calls of the JSON API that are made here."""

    daemon_threads = True

    def __init__(self, objects: Objects):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects = objects
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing when a client has what it wants and hangs up."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def handle_call(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        place = re.fullmatch(r"(?:/upload)?/storage/v1/b/([^/]+)/o(?:/(.*))?", url.path)
        assert place is not None, self.path
        bucket, name = place[1], query.get("name") or urllib.parse.unquote(place[2] or "")
        with self.server.lock:
            self._answer(*self._call(bucket, name, query, body))

    do_GET = do_POST = do_DELETE = handle_call

    def _call(self, bucket: str, name: str, query: dict[str, str], body: bytes) -> tuple:
        objects, path = self.server.objects, f"{bucket}/{name}"
        changes = self.command != "GET"
        if objects.refuses == "everything" or (changes and objects.refuses == "writes"):
            return 403, b"the caller does not have access"
        if bucket not in objects.buckets:
            return 404, b"the bucket does not exist"
        if self.command == "POST":
            return self._write(path, query, body)
        if not name:
            return self._list(bucket, query)
        if path not in objects.contents:
            return 404, b"{}"
        if self.command == "DELETE":
            objects.delete(path)
            return 204, b""
        return self._read(path) if "alt" in query else (200, self._metadata(path))

    def _write(self, path: str, query: dict[str, str], body: bytes) -> tuple:
        objects, expected = self.server.objects, query.get("ifGenerationMatch")
        there = objects.generations[path] if path in objects.contents else 0
        if expected and int(expected) != there:
            return 412, b"{}"
        objects.put(path, body)
        return 200, self._metadata(path)

    def _list(self, bucket: str, query: dict[str, str]) -> tuple:
        start, end = query.get("startOffset", ""), query.get("endOffset")
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        items, prefixes = [], set()
        for path in sorted(self.server.objects.contents):
            its_bucket, _, name = path.partition("/")
            if its_bucket != bucket or not name.startswith(prefix) or name < start:
                continue
            if end and name >= end:
                continue
            if delimiter and delimiter in name[len(prefix) :]:
                prefixes.add(prefix + name[len(prefix) :].partition(delimiter)[0] + delimiter)
            else:
                items.append(json.loads(self._metadata(path)))
        found = {"kind": "storage#objects", "items": items, "prefixes": sorted(prefixes)}
        return 200, json.dumps(found).encode()

    def _read(self, path: str) -> tuple:
        if "python" not in self.headers.get("User-Agent", "").lower():
            self.server.objects.requests.append(path)
        content = self.server.objects.contents[path]
        headers = {"x-goog-generation": str(self.server.objects.generations[path])}
        span = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range") or "")
        if span is None:
            return 200, content, headers
        size = len(content)
        first = int(span[1]) if span[1] else max(0, size - int(span[2]))
        last = min(int(span[2]), size - 1) if span[1] and span[2] else size - 1
        if first >= size:
            return 416, b"", {"Content-Range": f"bytes */{size}"}
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        return 206, content[first : last + 1], headers

    def _metadata(self, path: str) -> bytes:
        bucket, _, name = path.partition("/")
        metadata = {
            "kind": "storage#object",
            "bucket": bucket,
            "name": name,
            "generation": str(self.server.objects.generations[path]),
            "size": str(len(self.server.objects.contents[path])),
            "updated": "2026-01-01T00:00:00.000Z",
        }
        return json.dumps(metadata).encode()

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def install(objects: Objects, patch: pytest.MonkeyPatch) -> None:
    """Starts the server and points everything at it, here and in processes started from here."""
    address = Server(objects).address
    patch.setenv("CLOUD_STORAGE_EMULATOR_ENDPOINT", address)  # array_record's, and our gcsfs
    patch.setenv("TENSORSTORE_GCS_HTTP_URL", address)
    patch.setenv("GOOGLE_AUTH_TOKEN_FOR_TESTING", "none")
    patch.setenv("PYTHONPATH", str(_MODULES), prepend=":")
    patch.syspath_prepend(str(_MODULES))
    for protocol in ("gs", "gcs"):
        fsspec.register_implementation(protocol, "gcsfs.GCSFileSystem", clobber=True)
    backend.fsspec_backend._get_filesystem.cache_clear()


def upload(folder: Path, to: epath.Path) -> None:
    """Copies what lies in a local folder, as `gcloud storage cp -r` would."""
    for file in folder.rglob("*"):
        if file.is_file():
            (to / file.relative_to(folder)).write_bytes(file.read_bytes())
