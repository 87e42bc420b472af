"""Connections of HTTP/1.1 that are cut where nobody reads."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

_SECONDS_TO_READ = 30.0  # what has been sent; as long as a photo may take to come


class Connection(H11Protocol):
    """A connection that is cut if what was sent down it is not taken in time.

    A client that asks and does not read would else hold its connection for ever, and with it the
    server's end: what is closed in good order is sent first.
    """

    _cut: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Has the transport say whenever something is left to be sent, be it a byte."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)

    def pause_writing(self) -> None:
        """Gives the client some time, as something is left."""
        super().pause_writing()
        self._cut = self.loop.call_later(_SECONDS_TO_READ, self.transport.abort)

    def resume_writing(self) -> None:
        """Takes note that nothing is left."""
        super().resume_writing()
        self._wait_no_more()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends what was asked down this connection."""
        super().connection_lost(exc)
        self._wait_no_more()

    def _wait_no_more(self) -> None:
        if self._cut is not None:
            self._cut.cancel()
            self._cut = None
