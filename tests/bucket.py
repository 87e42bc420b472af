"""A stand-in for Google Cloud Storage: objects in memory, behind the three doors that lead to them.

Paths (`etils.epath`) go through fsspec, whose class for `gs://` is replaced by one over the same
objects; arrays (TensorStore) and records (array_record) are read and written by C++ clients, which
are pointed at a server on the loopback address; Orbax asks `google.cloud.storage` about buckets.
What cannot be seen with it: credentials, permissions, quotas, delays, and gcsfs itself.
"""

import http.server
import json
import re
import sys
import threading
import types
import urllib.parse
from typing import Any

import fsspec
import pytest
from etils.epath import backend
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem


class Objects:
    """All objects of all buckets, by `bucket/name`: no folders, only names with slashes."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.generations: dict[str, int] = {}
        self.buckets: set[str] = set()
        self.requests: list[str] = []  # of the C++ clients
        self.refuse_writes = False
        self._count = 0

    def put(self, path: str, content: bytes) -> int:
        if self.refuse_writes:
            raise OSError("Forbidden: the caller does not have storage.objects.create access")
        if path.partition("/")[0] not in self.buckets:
            raise FileNotFoundError(f"The specified bucket does not exist: {path}")
        self._count += 1
        self.contents[path] = content
        self.generations[path] = self._count
        return self._count

    def delete(self, path: str) -> None:
        del self.contents[path], self.generations[path]


class BucketFileSystem(AbstractFileSystem):
    """What gcsfs does with paths: no folder of its own, no appending, listings kept for later."""

    protocol = ("gs", "gcs")
    objects: Objects

    def mkdir(self, path: str, create_parents: bool = True, **kwargs: Any) -> None:
        if self._strip_protocol(path).partition("/")[0] not in self.objects.buckets:
            raise FileNotFoundError(path)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        pass

    def rmdir(self, path: str) -> None:
        pass

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list:
        path = self._strip_protocol(path).rstrip("/")
        found = self.dircache.get(path) if path in self.dircache else None
        if not found:
            entries = {}
            for name, content in list(self.objects.contents.items()):
                if name == path:
                    entries[name] = {"name": name, "size": len(content), "type": "file"}
                elif name.startswith(f"{path}/"):
                    child, slash, _ = name.removeprefix(f"{path}/").partition("/")
                    kind = "directory" if slash else "file"
                    size = 0 if slash else len(content)
                    entries[child] = {"name": f"{path}/{child}", "size": size, "type": kind}
            if not entries and path not in self.objects.buckets:
                raise FileNotFoundError(path)
            found = sorted(entries.values(), key=lambda entry: entry["name"])
            if path not in self.objects.contents:
                self.dircache[path] = found
        return found if detail else [entry["name"] for entry in found]

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        path = self._strip_protocol(path).rstrip("/")
        if "/" not in path:
            if path not in self.objects.buckets:
                raise FileNotFoundError(path)
            return {"name": path, "size": 0, "type": "directory"}
        parent = self._parent(path)
        if self.dircache.get(parent):
            known = [entry for entry in self.dircache[parent] if entry["name"] == path]
            if known:
                return known[0]
        elif path in self.objects.contents:
            size = len(self.objects.contents[path])
            return {"name": path, "size": size, "type": "file"}
        if any(name.startswith(f"{path}/") for name in list(self.objects.contents)):
            return {"name": path, "size": 0, "type": "directory"}
        raise FileNotFoundError(path)

    def exists(self, path: str, **kwargs: Any) -> bool:
        try:
            self.info(path)
        except FileNotFoundError:  # and nothing else means that it is not there
            return False
        return True

    def invalidate_cache(self, path: str | None = None) -> None:
        path = self._strip_protocol(path).rstrip("/") if path else ""
        while path:
            self.dircache.pop(path, None)
            path = self._parent(path)

    def _rm(self, path: str) -> None:
        path = self._strip_protocol(path)
        if path not in self.objects.contents:
            raise FileNotFoundError(path)
        self.objects.delete(path)
        self.invalidate_cache(path)

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        for name in self.expand_path(path, recursive=recursive, maxdepth=maxdepth):
            if name in self.objects.contents:
                self._rm(name)

    def cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        path1, path2 = self._strip_protocol(path1), self._strip_protocol(path2)
        if path1 in self.objects.contents:  # a folder is nothing to copy
            self.objects.put(path2, self.objects.contents[path1])
            self.invalidate_cache(path2)

    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> AbstractBufferedFile:
        kwargs.pop("block_size", None)
        return _File(self, path, mode=mode, cache_type="none", **kwargs)


class _File(AbstractBufferedFile):
    fs: BucketFileSystem

    def __init__(self, fs: BucketFileSystem, path: str, mode: str, **kwargs: Any):
        if mode not in ("rb", "wb"):
            raise NotImplementedError(f"objects are read or written whole, not '{mode}'")
        super().__init__(fs, path, mode=mode, **kwargs)
        self._written = b""

    def _fetch_range(self, start: int, end: int) -> bytes:
        return self.fs.objects.contents[self.path][start:end]

    def _upload_chunk(self, final: bool = False) -> bool:
        self._written += self.buffer.getvalue()
        if final:
            self.fs.objects.put(self.path, self._written)
            self.fs.invalidate_cache(self.path)
        return True


class Server(http.server.ThreadingHTTPServer):
    """The few calls of the JSON API that the C++ clients make."""

    daemon_threads = True

    def __init__(self, objects: Objects):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects = objects
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

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
        name = query.get("name") or urllib.parse.unquote(place[2] or "")
        path = f"{place[1]}/{name}"
        with self.server.lock:
            self.server.objects.requests.append(f"{self.command} {path}")
            if self.command == "POST":
                self._write(path, query, body)
            elif not name:
                self._list(path, query)
            elif path not in self.server.objects.contents:
                self._answer(404, b"{}")
            elif self.command == "DELETE":
                self.server.objects.delete(path)
                self._answer(204, b"")
            else:
                self._read(path)

    do_GET = do_POST = do_DELETE = handle_call

    def _write(self, path: str, query: dict[str, str], body: bytes) -> None:
        expected = query.get("ifGenerationMatch")
        if expected and int(expected) != self.server.objects.generations.get(path, 0):
            self._answer(412, b"{}")
            return
        try:
            generation = self.server.objects.put(path, body)
        except OSError as error:
            self._answer(403, json.dumps({"error": {"message": str(error)}}).encode())
            return
        self._answer(200, json.dumps(self._metadata(path, generation)).encode())

    def _list(self, bucket: str, query: dict[str, str]) -> None:
        objects = self.server.objects
        start, end = bucket + query.get("startOffset", ""), query.get("endOffset")
        prefix = bucket + query.get("prefix", "")
        names = [
            name
            for name in sorted(objects.contents)
            if name.startswith(prefix) and name >= start and (not end or name < bucket + end)
        ]
        items = [self._metadata(name, objects.generations[name]) for name in names]
        self._answer(200, json.dumps({"kind": "storage#objects", "items": items}).encode())

    def _read(self, path: str) -> None:
        content = self.server.objects.contents[path]
        headers = {"x-goog-generation": str(self.server.objects.generations[path])}
        span = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range") or "")
        if span is None:
            self._answer(200, content, headers)
            return
        size = len(content)
        first = int(span[1]) if span[1] else max(0, size - int(span[2]))
        last = min(int(span[2]), size - 1) if span[1] and span[2] else size - 1
        if first >= size:
            self._answer(416, b"", {"Content-Range": f"bytes */{size}"})
            return
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        self._answer(206, content[first : last + 1], headers)

    def _metadata(self, path: str, generation: int) -> dict[str, str]:
        bucket, _, name = path.partition("/")
        size = len(self.server.objects.contents[path])
        return {
            "kind": "storage#object",
            "bucket": bucket,
            "name": name,
            "generation": str(generation),
            "size": str(size),
            "updated": "2026-01-01T00:00:00.000Z",
        }

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _client_library(objects: Objects) -> types.ModuleType:
    """A `google.cloud.storage` with what Orbax uses of it: which kind of bucket one is."""

    class Client:
        def get_bucket(self, name: str) -> object:
            assert name in objects.buckets
            return object()  # whose folders are none

    module = types.ModuleType("google.cloud.storage")
    module.Client = Client  # type: ignore[attr-defined]
    return module


def install(objects: Objects, patch: pytest.MonkeyPatch) -> None:
    """Opens the three doors; the C++ clients look at their variables once a process."""
    server = Server(objects)
    patch.setenv("CLOUD_STORAGE_EMULATOR_ENDPOINT", server.address)
    patch.setenv("TENSORSTORE_GCS_HTTP_URL", server.address)
    patch.setenv("GOOGLE_AUTH_TOKEN_FOR_TESTING", "none")
    BucketFileSystem.objects = objects
    for protocol in BucketFileSystem.protocol:
        fsspec.register_implementation(protocol, BucketFileSystem, clobber=True)
    backend.fsspec_backend._get_filesystem.cache_clear()
    storage = _client_library(objects)
    cloud = types.ModuleType("google.cloud")
    cloud.storage = storage  # type: ignore[attr-defined]
    patch.setitem(sys.modules, "google.cloud", cloud)
    patch.setitem(sys.modules, "google.cloud.storage", storage)
