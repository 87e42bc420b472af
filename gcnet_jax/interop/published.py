"""The published weights by name: fetched once, kept in a cache, checked against their hash.

A published name carries eight hex digits of a SHA-256. They tell a broken file from a whole one,
and are no defence: a file with the same eight digits is made in minutes. What keeps weights from
being exchanged is HTTPS on the way here, and from then on the full SHA-256 of what was fetched
first, which is kept beside the file in the format of `sha256sum`.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import IO, NamedTuple

import rich.console
from absl import logging

from gcnet_jax.config import cache_folder
from gcnet_jax.errors import InputError, did_you_mean
from gcnet_jax.files import open_regular, read_regular, write_whole
from gcnet_jax.interop.download import DownloadError, download

_CHUNK = 1 << 20  # bytes read at a time


class PublishedFile(NamedTuple):
    """Where a file is published, and the first hex digits of its SHA-256."""

    address: str
    sha256_prefix: str


def published_files() -> dict[str, PublishedFile]:
    """The weights of the published runs, and of the ImageNet backbones that they start from."""
    table = (resources.files("gcnet_jax.interop") / "published.json").read_text()
    return {name: PublishedFile(**x) for name, x in json.loads(table).items()}


def is_fetched(name: str) -> bool:
    """Whether the published file of that name is in the cache, whole or damaged."""
    return (cache_folder("weights") / published_files()[name].address.rpartition("/")[2]).is_file()


def published_name(
    path: os.PathLike,
    *,
    cache_dir: os.PathLike | None = None,
    files: Mapping[str, PublishedFile] | None = None,
) -> str | None:
    """The name of the published file that another file has the content of, whatever it is called.

    Args:
        path: of the other file.
        cache_dir: as for `fetch_published`; the full hash of what was fetched first counts too.
        files: those that are published, by name; default `published_files()`.

    Returns:
        The name; None if the file has the hash of none.

    Raises:
        InputError: the file cannot be read.
    """
    files = published_files() if files is None else files
    folder = Path(cache_dir) if cache_dir is not None else cache_folder("weights")
    try:
        digest = hashlib.sha256()
        with open_regular(path) as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error})") from error
    for name, published in files.items():
        if not _fault(digest.hexdigest(), folder / published.address.rpartition("/")[2], published):
            return name
    return None


def fetch_published(
    name: str,
    *,
    cache_dir: os.PathLike | None = None,
    files: Mapping[str, PublishedFile] | None = None,
) -> Path:
    """The file of a published run, downloaded unless the cache has it.

    What an interrupted download left is continued. A file is renamed to its own name only after its
    hash has been found right, and one in the cache is checked again each time. Of several processes
    that ask for a file one fetches it, and the others wait.

    Args:
        name: of the run, or of an ImageNet backbone such as `resnet50_v1c`.
        cache_dir: default `gcnet_jax/weights` in the user's cache folder (`XDG_CACHE_HOME`).
        files: where they are, by name; default `published_files()`.

    Raises:
        InputError: there is no such run, it cannot be fetched or stored, or what came has another
            hash than was published or than what was fetched first.
    """
    files = published_files() if files is None else files
    if name not in files:
        raise InputError(
            f"there are no published weights {name!r}{did_you_mean(name, files)}; there are: "
            f"{', '.join(files)}"
        )
    published = files[name]
    folder = Path(cache_dir) if cache_dir is not None else cache_folder("weights")
    target = folder / published.address.rpartition("/")[2]
    partial = target.with_name(f"{target.name}.partial")
    try:
        if _is_right(target, published) and (
            _first(target).exists() or not os.access(folder, os.W_OK)  # where nothing can be kept
        ):
            return target
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(partial) as file:
            if _is_right(target, published):  # by hand, or by a process that was faster
                _remember(target, _sha256(target))
                partial.unlink()
            else:
                _fill(file, partial, target, published)
    except OSError as error:
        raise InputError(
            f"{target} cannot be read or written ({error.strerror or error})"
        ) from error
    return target


def _fill(file: IO[bytes], partial: Path, target: Path, published: PublishedFile) -> None:
    """Fetches a file, and gives it its name if it is the right one."""
    if target.exists():
        damaged = target.replace(target.with_name(f"{target.name}.damaged"))
        logging.warning("%s has another hash than it should and is fetched again", damaged)
    try:
        download(published.address, file, target.name)
    except DownloadError as error:
        file.flush()
        if not partial.stat().st_size:
            partial.unlink()
        raise InputError(
            f"cannot download {published.address} ({error}). By hand: fetch it elsewhere, "
            f"see that its sha256sum begins with {published.sha256_prefix}, and put it at {target}"
        ) from error
    file.flush()
    digest = _sha256(partial)
    if fault := _fault(digest, target, published):
        partial.unlink()
        raise InputError(f"what came from {published.address} {fault}; it is removed")
    _remember(target, digest)
    partial.replace(target)


def _is_right(target: Path, published: PublishedFile) -> bool:
    try:
        digest = _sha256(target)
    except FileNotFoundError:
        return False
    return not _fault(digest, target, published)


def _fault(digest: str, target: Path, published: PublishedFile) -> str:
    """What is wrong with a file of this hash, if anything."""
    if not digest.startswith(published.sha256_prefix):
        return f"has SHA-256 {digest}, which does not begin with {published.sha256_prefix}"
    first = _first(target)
    if not first.exists():
        return ""
    remembered = re.match(r"[0-9a-f]{64}\b", read_regular(first).decode(errors="replace"))
    if remembered is None:
        raise InputError(
            f"{first} holds no SHA-256; delete it to take what is fetched next as right"
        )
    if digest == remembered[0]:
        return ""
    return (
        f"has SHA-256 {digest}, and not {remembered[0]} as what was fetched first (if it has been "
        f"published anew, delete {first})"
    )


def _first(target: Path) -> Path:
    """Where the hash of what was fetched first is kept."""
    return target.with_name(f"{target.name}.sha256")


def _remember(target: Path, digest: str) -> None:
    if not _first(target).exists():
        write_whole(_first(target), f"{digest}  {target.name}\n")


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[IO[bytes]]:
    """A file to append to, by one process at a time; one that is killed holds up no other."""
    while True:
        with path.open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                console = rich.console.Console(stderr=True, soft_wrap=True)
                console.print(f"Waiting for another process that fetches {path}", highlight=False)
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError as error:  # some file systems of clusters have no locks
                logging.warning(
                    "%s cannot be locked (%s): let no other process fetch it", path, error
                )
            if _is_still(path, file):
                yield file
                return


def _is_still(path: Path, file: IO[bytes]) -> bool:
    """Whether an open file has this path; the process before may have renamed or removed it."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
