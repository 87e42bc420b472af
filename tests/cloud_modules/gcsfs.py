"""Stands in for the package of this name: paths in the stand-in for Google Cloud Storage.

As the real one does, it makes no folders, appends to nothing, sends an object when it is closed,
renames by copying, and remembers listings until it writes there itself.
"""

import io
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from fsspec.spec import AbstractBufferedFile, AbstractFileSystem


def _request(method: str, path: str, body: bytes | None = None, **headers: str) -> bytes:
    address = os.environ["CLOUD_STORAGE_EMULATOR_ENDPOINT"] + path
    request = urllib.request.Request(address, body, headers, method=method)
    try:
        with urllib.request.urlopen(request) as response:
            return response.read()
    except urllib.error.HTTPError as error:
        answer = error.read().decode()
        if error.code == 404:
            raise FileNotFoundError(path) from error
        raise OSError(f"Forbidden: {answer}") from error


def _address(path: str, **query: str) -> str:
    bucket, _, name = path.partition("/")
    place = f"/o/{urllib.parse.quote(name, safe='')}" if name else "/o"
    return f"/storage/v1/b/{bucket}{place}?{urllib.parse.urlencode(query)}"


class GCSFileSystem(AbstractFileSystem):
    protocol = ("gs", "gcs")

    def mkdir(self, path: str, create_parents: bool = True, **kwargs: Any) -> None:
        self.info(self._strip_protocol(path).partition("/")[0])

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        pass

    def rmdir(self, path: str) -> None:
        pass

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list:
        path = self._strip_protocol(path).rstrip("/")
        if not self.dircache.get(path):
            self.dircache[path] = self._listing(path)
        found = self.dircache[path]
        if not found and "/" in path:
            del self.dircache[path]
            return [self._object(path)] if detail else [self._object(path)["name"]]
        return found if detail else [entry["name"] for entry in found]

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        path = self._strip_protocol(path).rstrip("/")
        folder = {"name": path, "size": 0, "type": "directory"}
        if "/" not in path:
            self._listing(path)
            return folder
        for entry in self.dircache.get(self._parent(path)) or []:
            if entry["name"] == path:
                return entry
        try:
            return self._object(path)
        except FileNotFoundError:
            if not self._listing(path):
                raise
            return folder

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

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        for name in self.expand_path(path, recursive=recursive, maxdepth=maxdepth):
            if self.info(name)["type"] == "file":
                _request("DELETE", _address(name))
        self.invalidate_cache(path if isinstance(path, str) else path[0])
        self.dircache.clear()

    def cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        if self.info(path1)["type"] == "file":
            self.write(self._strip_protocol(path2), self.cat_file(path1))

    def write(self, path: str, content: bytes) -> None:
        bucket, _, name = path.partition("/")
        query = urllib.parse.urlencode({"uploadType": "media", "name": name})
        _request("POST", f"/upload/storage/v1/b/{bucket}/o?{query}", content)
        self.invalidate_cache(path)

    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> AbstractBufferedFile:
        if mode not in ("rb", "wb"):
            raise io.UnsupportedOperation(f"objects cannot be opened as '{mode}'")
        return _File(self, path, mode=mode, cache_type="none")

    def _object(self, path: str) -> dict[str, Any]:
        siblings = self.dircache.get(self._parent(path))
        if siblings and path not in [entry["name"] for entry in siblings]:
            raise FileNotFoundError(path)
        plain = json.loads(_request("GET", _address(path)))
        return {"name": path, "size": int(plain["size"]), "type": "file"}

    def _listing(self, path: str) -> list[dict[str, Any]]:
        bucket, _, name = path.partition("/")
        prefix = f"{name}/" if name else ""
        plain = json.loads(_request("GET", _address(bucket, prefix=prefix, delimiter="/")))
        folders = [
            {"name": f"{bucket}/{found.rstrip('/')}", "size": 0, "type": "directory"}
            for found in plain["prefixes"]
        ]
        files = [
            {"name": f"{bucket}/{item['name']}", "size": int(item["size"]), "type": "file"}
            for item in plain["items"]
        ]
        return folders + files


class _File(AbstractBufferedFile):
    _written = b""

    def _fetch_range(self, start: int, end: int) -> bytes:
        if start >= end:
            return b""
        return _request("GET", _address(self.path, alt="media"), Range=f"bytes={start}-{end - 1}")

    def _upload_chunk(self, final: bool = False) -> bool:
        self._written += self.buffer.getvalue()
        if final:
            self.fs.write(self.path, self._written)
        return True
