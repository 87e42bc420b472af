"""Connections of HTTP/1.1: how many are held, and which are cut."""

import asyncio
import itertools
import json

import h11
from starlette.responses import JSONResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

CONNECTIONS = 256  # that are asked something or answered; each costs little, but is not free
_SECONDS_TO_ASK = 30.0  # until a request has come, but for its body
_SECONDS_TO_READ = 30.0  # what has been sent; as long as a photo may take to come
_SECONDS_TO_TRY_AGAIN = 2
_FULL = JSONResponse(
    {"error": "as many connections as are held are in use; try again in a moment"},
    503,
    headers={"retry-after": str(_SECONDS_TO_TRY_AGAIN), "connection": "close"},
)


class Connection(H11Protocol):
    """A connection that is cut if its client does not ask, or does not read, in time.

    Else clients that only connect would take the place of those who ask; and one that asks and does
    not read would hold its connection for ever, and with it the server's end: what is closed in
    good order is sent first. Where there are too many, a new one takes the place of the one that
    has been silent for longest; if all are at work, it is refused.
    """

    _turns = itertools.count()  # clocks of event loops are too coarse for an order
    _silent_since = 0
    _unasked: asyncio.TimerHandle | None = None  # there while no request is under way
    _unread: asyncio.TimerHandle | None = None  # there while something is left to be sent

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Finds a place, and has the transport say whenever a byte is left to be sent."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)
        if len(self.connections) > CONNECTIONS and not self._take_place():
            self.app = _FULL
        self._wait_for_request()

    def handle_events(self) -> None:
        """Takes what has come, and notes whether it is a request."""
        super().handle_events()
        if self.cycle is not None and not self.cycle.response_complete:
            self._unasked = _ended(self._unasked)

    def on_response_complete(self) -> None:
        """Waits for the next request, which may have come already."""
        self._wait_for_request()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuses what is no request, in JSON as all else is refused."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):  # else an answer has begun
            body = json.dumps({"error": "this is no valid request of HTTP/1.1"}).encode()
            headers = {
                "content-type": "application/json",
                "content-length": str(len(body)),
                "connection": "close",
            }
            for event in (
                h11.Response(status_code=400, headers=list(headers.items()), reason=b"Bad Request"),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def pause_writing(self) -> None:
        """Gives the client some time, as something is left."""
        super().pause_writing()
        self._unread = self.loop.call_later(_SECONDS_TO_READ, self.transport.abort)

    def resume_writing(self) -> None:
        """Takes note that nothing is left."""
        super().resume_writing()
        self._unread = _ended(self._unread)

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends what was asked down this connection."""
        super().connection_lost(exc)
        self._unread = _ended(self._unread)
        self._unasked = _ended(self._unasked)

    def _should_upgrade(self) -> bool:
        return False  # there is nothing to upgrade to, and no package to install for it

    def _wait_for_request(self) -> None:
        _ended(self._unasked)
        self._silent_since = next(self._turns)
        self._unasked = self.loop.call_later(_SECONDS_TO_ASK, self.transport.abort)

    def _take_place(self) -> bool:
        """Cuts the connection that has been silent for longest; False if there is none."""
        silent = [
            other
            for other in self.connections
            if isinstance(other, Connection) and other._unasked is not None
        ]
        if not silent:
            return False
        longest = min(silent, key=lambda other: other._silent_since)
        longest._unasked = _ended(longest._unasked)
        longest.transport.abort()
        return True


def _ended(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
