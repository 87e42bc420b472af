"""The published weights by name: fetched once, kept in a cache, checked against their hash."""

import hashlib
import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import rich.console
import rich.progress
from absl import logging

from gcnet_jax.config import cache_folder
from gcnet_jax.errors import InputError, did_you_mean

_TIMEOUT = 20  # seconds without a byte
_CHUNK = 1 << 20


class PublishedFile(NamedTuple):
    """Where a file is published, and the first hex digits of its SHA-256."""

    address: str
    sha256_prefix: str


def published_files() -> dict[str, PublishedFile]:
    """The weights of the sixteen published runs and the ImageNet backbones that they start from."""
    table = json.loads((resources.files("gcnet_jax.interop") / "published.json").read_text())
    return {name: PublishedFile(**entry) for name, entry in table.items()}


def fetch_published(
    name: str,
    *,
    cache_dir: os.PathLike | None = None,
    files: Mapping[str, PublishedFile] | None = None,
) -> Path:
    """The file of a published run, downloaded unless the cache has it.

    What an interrupted download left is continued. A file is renamed to its own name only after its
    hash has been found right, and one in the cache is checked again each time.

    Args:
        name: of the run, or of an ImageNet backbone such as `resnet50_v1c`.
        cache_dir: default `gcnet_jax/weights` in the user's cache folder (`XDG_CACHE_HOME`).
        files: where they are, by name; default `published_files()`.

    Raises:
        InputError: there is no such run, it cannot be fetched, or what came has another hash.
    """
    files = published_files() if files is None else files
    if name not in files:
        raise InputError(
            f"there are no published weights {name!r}{did_you_mean(name, files)}; there are: "
            f"{', '.join(files)}"
        )
    published = files[name]
    folder = Path(cache_dir) if cache_dir is not None else cache_folder("weights")
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / published.address.rpartition("/")[2]
    if target.is_file():
        if _sha256(target).startswith(published.sha256_prefix):
            return target
        damaged = target.replace(target.with_name(f"{target.name}.damaged"))
        logging.warning("%s has another hash than was published and is fetched again", damaged)
    partial = target.with_name(f"{target.name}.partial")
    try:
        _download(published.address, partial)
    except (OSError, http.client.HTTPException) as error:  # includes URLError and time-outs
        raise InputError(
            f"cannot download {published.address} ({_reason(error)}). By hand: fetch it elsewhere, "
            f"see that its sha256sum begins with {published.sha256_prefix}, and put it at {target}"
        ) from error
    digest = _sha256(partial)
    if not digest.startswith(published.sha256_prefix):
        partial.unlink()
        raise InputError(
            f"what came from {published.address} has SHA-256 {digest}, which does not begin with "
            f"{published.sha256_prefix}; it is removed"
        )
    partial.replace(target)
    return target


def _download(address: str, partial: Path) -> None:
    """Fills `partial` up; goes on where it ends, if the server can."""
    start = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(address, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:  # nothing lies beyond: what is there is all, or too much
            return
        raise
    with response:
        continues = response.status == 206
        start = start if continues else 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length is not None else None
        with partial.open("ab" if continues else "wb") as file:
            for chunk in _with_progress(response, partial.stem, start, total):
                file.write(chunk)
    size = partial.stat().st_size
    if total is not None and size < total:
        raise http.client.HTTPException(
            f"the connection broke off after {size} of {total} bytes; try again to go on from there"
        )


def _with_progress(
    response: http.client.HTTPResponse, name: str, start: int, total: int | None
) -> Iterator[bytes]:
    columns = (
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.DownloadColumn(),
        rich.progress.TransferSpeedColumn(),
        rich.progress.TimeRemainingColumn(),
    )
    with rich.progress.Progress(*columns, console=rich.console.Console(stderr=True)) as progress:
        task = progress.add_task(name, total=total, completed=start)
        while chunk := response.read(_CHUNK):
            yield chunk
            progress.advance(task, len(chunk))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return str(reason) or type(error).__name__
