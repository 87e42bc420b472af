"""What every request passes: whom the server answers, and what answers let a browser do."""

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """Refuses requests that come through foreign pages or names, and adds headers to all answers.

    A page of another site may send its visitor's browser here, by this machine's address or by a
    name of its own that leads to it. The first says its `Origin`, the second the name as `Host`.

    Args:
        app: what answers all other requests.
        hosts: names by which this machine may be called, beside addresses.
        any_address: whether every address is taken as `Host`, and not those of this machine's
            loopback device alone. A name can be made to lead anywhere, an address cannot.
    """

    def __init__(self, app: ASGIApp, *, hosts: Collection[str] = (), any_address: bool = False):
        self._app = app
        self._hosts = {"localhost", *(host.lower() for host in hosts)}
        self._any_address = any_address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or refuses it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        answer = self._app
        headers = Headers(scope=scope)
        if refusal := self._refusal(headers.getlist("host"), headers.getlist("origin")):
            status, why = refusal
            answer = JSONResponse({"error": why}, status)
        await answer(scope, receive, send_with_headers)

    def _refusal(self, hosts: list[str], origins: list[str]) -> tuple[int, str] | None:
        """Why a request is refused, by status; None if it is not."""
        if len(hosts) != 1 or (authority := _authority(f"//{hosts[0]}")) is None:
            return 400, "the request says no host, or more than one"
        if not self._is_own(authority[0]):
            return 421, "the host that the request names is not this server; call it by its address"
        # Its scheme says nothing: something between may speak HTTPS with the browser.
        if any(_authority(origin) != authority for origin in origins):
            return 403, "the request comes from a page of another origin"
        return None

    def _is_own(self, host: str) -> bool:
        if host in self._hosts:
            return True
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return self._any_address or address.is_loopback


def _authority(url: str) -> tuple[str, int | None] | None:
    """Host and port of a URL that has nothing else behind them; None if it is something else."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not host or "@" in parts.netloc or parts.path or parts.query or parts.fragment:
        return None
    return host, None if port == {"http": 80, "https": 443}.get(parts.scheme) else port
