"""Downloads within a size and a time, over HTTPS throughout, that go on where one broke off.

What a server sends is not believed: it may be silent, drip, send without end, or lead elsewhere.
"""

import contextlib
import http.client
import os
import queue
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http import HTTPStatus
from typing import IO, Any, NamedTuple

import rich.console
import rich.progress

_SILENCE = 20.0  # seconds without a byte, after which a connection is given up
_MOST_SECONDS = 7200.0
_MOST_BYTES = 2 << 30
_MOST_REDIRECTS = 5
_CHUNK = 1 << 20


class DownloadError(Exception):
    """A download has failed; the message says why. What came until then is in the file."""


def download(address: str, file: IO[bytes], name: str) -> None:
    """Fills a file up with what is at an address; goes on where it ends, if the server can.

    Args:
        address: of HTTPS; with HTTP nothing is known of who answers.
        file: opened for appending.
        name: what to call it beside the progress bar.

    Raises:
        DownloadError: there is no connection, the server answers otherwise than it should or leads
            away from HTTPS, or more than 2 GiB or two hours would be needed.
        OSError: the file cannot be written.
    """
    size = file.seek(0, os.SEEK_END)
    with _Transfer(address, size) as transfer:
        answer = transfer.answer()
        if answer.start != size:  # the server can only begin at the beginning
            size = file.truncate(0)
        with _progress() as progress:
            task = progress.add_task(name, total=answer.total, completed=size)
            for chunk in transfer.chunks():
                size += len(chunk)
                if size > _MOST_BYTES:
                    file.truncate(0)
                    raise DownloadError(_too_large("more"))
                file.write(chunk)
                progress.advance(task, len(chunk))
    if answer.total is not None and size < answer.total:
        raise DownloadError(
            f"the connection broke off after {size} of {answer.total} bytes; try again to go on "
            "from there"
        )


class _Answer(NamedTuple):
    """What a server says before it sends anything.

    Attributes:
        start: the byte that it begins with.
        total: bytes of all there is, if it says so.
    """

    start: int
    total: int | None


class _Transfer:
    """A request, made and received by a thread: no wait for the server outlasts the time."""

    def __init__(self, address: str, start: int):
        self._end = time.monotonic() + _MOST_SECONDS
        self._received: queue.Queue[Any] = queue.Queue(maxsize=8)
        self._left = threading.Event()
        receiving = threading.Thread(target=self._receive, args=(address, start), daemon=True)
        receiving.start()

    def __enter__(self) -> "_Transfer":
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()

    def answer(self) -> _Answer:
        return self._next()

    def chunks(self) -> Iterator[bytes]:
        while chunk := self._next():
            yield chunk

    def _next(self) -> Any:
        try:
            item = self._received.get(timeout=max(self._end - time.monotonic(), 0))
        except queue.Empty:
            raise DownloadError(
                f"it took more than {_MOST_SECONDS / 3600:g} hours; try again to go on from there"
            ) from None
        if isinstance(item, Exception):
            raise DownloadError(_reason(item)) from item
        return item

    def _receive(self, address: str, start: int) -> None:
        try:
            response, answer = _begun(address, start)
            with response:
                self._hand_over(answer)
                while not self._left.is_set():
                    chunk = response.read1(_CHUNK)
                    self._hand_over(chunk)
                    if not chunk:
                        return
        except urllib.error.HTTPError as error:
            if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
                self._hand_over(_Answer(start, start))  # what is there is all, or too much
                self._hand_over(b"")
            else:
                self._hand_over(error)
        except Exception as error:  # of the network and of what the server sends: of many kinds
            self._hand_over(error)

    def _hand_over(self, item: Any) -> None:
        while not self._left.is_set():
            with contextlib.suppress(queue.Full):
                self._received.put(item, timeout=1)
                return


def _begun(address: str, start: int) -> tuple[http.client.HTTPResponse, _Answer]:
    """An answer that begins where it was asked to, or at the beginning.

    Raises:
        DownloadError: it is too large, or none that can be understood.
        OSError: there is none, or one with another status.
        HTTPException, ValueError: it is no HTTP.
    """
    response = _open(address, start)
    length = response.headers.get("Content-Length")
    if length is not None and not re.fullmatch(r"\d{1,18}", length.strip(), re.ASCII):
        raise DownloadError(f"it says that there are {length!r} bytes")
    answer = _Answer(0, None if length is None else int(length))
    if response.status == HTTPStatus.PARTIAL_CONTENT and start:
        sent = response.headers.get("Content-Range", "").strip()
        match = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18})", sent, re.ASCII)
        if match is None or int(match[1]) != start:  # another part, which is of no use
            response.close()
            return _begun(address, 0)
        answer = _Answer(start, int(match[2]))
    elif response.status != HTTPStatus.OK:
        raise DownloadError(f"it answers with status {response.status}")
    if answer.total is not None and answer.total > _MOST_BYTES:
        raise DownloadError(_too_large(str(answer.total)))
    return response, answer


def _open(address: str, start: int) -> http.client.HTTPResponse:
    """What answers at an address, or where that leads to."""
    opener = urllib.request.build_opener(_Unfollowed)
    headers = {"Range": f"bytes={start}-"} if start else {}
    for _ in range(_MOST_REDIRECTS + 1):
        try:
            return opener.open(urllib.request.Request(address, headers=headers), timeout=_SILENCE)
        except urllib.error.HTTPError as error:
            location = error.headers.get("Location")
            if error.code // 100 != 3 or not location:
                raise
            error.close()
            address = _redirected(address, location)
    raise DownloadError(f"it redirects more than {_MOST_REDIRECTS} times")


class _Unfollowed(urllib.request.HTTPRedirectHandler):
    """Hands redirects out as errors: urllib would leave HTTPS, and read all that comes with one."""

    def redirect_request(
        self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: Any
    ) -> None:
        return None


def _redirected(address: str, location: str) -> str:
    there = urllib.parse.urljoin(address, location)
    before, after = (urllib.parse.urlsplit(x).scheme for x in (address, there))
    if after not in ("https", before):
        raise DownloadError(f"it leads from {before} to {there}; expected https")
    return there


def _too_large(size: str) -> str:
    return f"it sends {size} bytes; expected at most {_MOST_BYTES}"


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return str(reason) or type(error).__name__


def _progress() -> rich.progress.Progress:
    return rich.progress.Progress(
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.DownloadColumn(),
        rich.progress.TransferSpeedColumn(),
        rich.progress.TimeRemainingColumn(),
        console=rich.console.Console(stderr=True),
    )
