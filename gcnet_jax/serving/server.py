"""The server: an application on a socket, until it is asked to stop."""

import asyncio
import contextlib
import ipaddress
import signal
import socket
from collections.abc import Callable, Iterator

import uvicorn
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gcnet_jax.errors import UsageError
from gcnet_jax.serving.connection import Connection
from gcnet_jax.serving.guard import Guard

_STOPS = (signal.SIGINT, signal.SIGTERM)
_SECONDS_TO_STOP = 300  # for what was taken to be answered


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Args:
        host: an address of this machine, or a name of one.
        port: 0 for a free one.

    Raises:
        UsageError: the address is not this machine's, or the port is in use or not allowed.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.create_server(address[:2], family=family)
        # Head and body of an answer are two packets: without it the second waits until the client
        # has acknowledged the first, which takes 40 ms. asyncio sets it for its own sockets alone.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        return listening
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"--host={host} --port={port} cannot be listened at ({reason}); --port=0 takes a free "
            "port"
        ) from error


def url_of(listening: socket.socket) -> str:
    """The address of a server at a socket, for a browser on this machine."""
    host, port = listening.getsockname()[:2]
    address = ipaddress.ip_address(host)
    if address.is_unspecified:
        host = "127.0.0.1" if address.version == 4 else "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(listening: socket.socket) -> bool:
    """Whether this machine alone can reach a socket."""
    return ipaddress.ip_address(listening.getsockname()[0]).is_loopback


def serve(
    application: ASGIApp, listening: socket.socket, *, ready: Callable[[], None] = lambda: None
) -> None:
    """Serves until SIGTERM or Ctrl-C: then nothing new is taken, and what was taken is answered.

    Whatever is not answered five minutes later is dropped. A second Ctrl-C drops it at once; what
    networks have begun they finish.

    Args:
        application: what answers.
        listening: where it is asked; closed afterwards.
        ready: called when it begins; a stop that comes meanwhile is heeded.

    Raises:
        KeyboardInterrupt: there was a second Ctrl-C.
    """
    anywhere = not is_loopback(listening)
    own = socket.gethostname()
    names = [own, f"{own}.local"] if anywhere else []  # the second is what phones call it by
    server = _Server(
        uvicorn.Config(
            Guard(_told_when_dropped(application), hosts=names, any_address=anywhere),
            http=Connection,
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=_SECONDS_TO_STOP,
        )
    )
    with listening, server.stopped_by_signals():
        ready()
        asyncio.run(server.serve(sockets=[listening]))
    if server.force_exit:
        raise KeyboardInterrupt


def _told_when_dropped(application: ASGIApp) -> ASGIApp:
    """An application that says so to whom it no longer answers, as the server is stopped."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await application(scope, receive, noted)
        except asyncio.CancelledError:  # an answer that is cut short the server logs itself
            if not begun:
                error = {"error": "the server has been stopped before this was answered"}
                await JSONResponse(error, 503)(scope, receive, send)

    return answer


class _Server(uvicorn.Server):
    """A server that signals stop from before it starts until it has ended.

    Its base takes signals only while it runs, and raises them again in the end.
    """

    @contextlib.contextmanager
    def stopped_by_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in _STOPS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
