"""The HTTP application: photos in, results as JSON and PNG out, and the page for people."""

import asyncio
import contextlib
import functools
import importlib.resources
import json
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, TypeVar

import anyio.to_thread
import numpy as np
from jaxtyping import UInt8, UInt16
from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from gcnet_jax.analysis.attention_maps import Point
from gcnet_jax.data import encode_png
from gcnet_jax.errors import InputError
from gcnet_jax.serving.network_queue import NetworkQueue, QueueFullError, Waiting, Work
from gcnet_jax.serving.served_network import Served
from gcnet_jax.serving.shown_layers import layer_to_plain, map_to_plain
from gcnet_jax.serving.uploads import UploadLimits, read_photo
from gcnet_jax.task import ShownResult

_E = TypeVar("_E")

_PAGE = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/layers.js": ("layers.js", "text/javascript"),
    "/legends.js": ("legends.js", "text/javascript"),
    "/requests.js": ("requests.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_FAILED = "the network failed; the server's log says how"
_SECONDS_BETWEEN_LOOKS = 0.1
_SECONDS_TO_TRY_AGAIN = 2


class Application:
    """What the server answers, by path.

    Args:
        networks: those it has.
        examples: images to try them with.
        queue: before the networks.
        limits: of photos.
    """

    def __init__(
        self,
        networks: Sequence[Served],
        examples: Sequence[UInt8[np.ndarray, "h w 3"]],
        queue: NetworkQueue,
        limits: UploadLimits,
    ):
        self._networks = networks
        self._examples = examples
        self._queue = queue
        self._limits = limits

    def starlette(self) -> Starlette:
        """The application, for a server of ASGI."""
        post = functools.partial(Route, methods=["POST"])
        page = importlib.resources.files("gcnet_jax.serving") / "page"
        files = [
            Route(path, _file((page / name).read_bytes(), kind), methods=["GET"])
            for path, (name, kind) in _PAGE.items()
        ]
        of_network = "/networks/{network}"
        starlette = Starlette(
            routes=[
                *files,
                Route("/networks", self._list, methods=["GET"]),
                Route("/examples/{example}.png", self._example, methods=["GET"]),
                post("/photo.png", self._photo),
                post(f"{of_network}/result.json", self._answer(_result_json)),
                post(f"{of_network}/picture.png", self._answer(_picture_png)),
                post(f"{of_network}/regions.png", self._answer(_regions_png)),
                post(f"{of_network}/layer", self._layer),
                post(f"{of_network}/attention", self._map),
            ],
            exception_handlers={
                HTTPException: _refused,
                QueueFullError: _full,
                ClientDisconnect: _gone,
                Exception: _failed,
            },
        )
        starlette.router.redirect_slashes = False  # a redirection would say nothing in JSON
        return starlette

    def _list(self, request: Request) -> Response:
        """The networks, how many examples there are, and what photos may be."""
        return JSONResponse(
            {
                "networks": [network.to_plain() for network in self._networks],
                "examples": len(self._examples),
                "limits": {
                    "bytes": self._limits.size,
                    "pixels": self._limits.pixels,
                    "requests": self._queue.places,
                },
            }
        )

    def _example(self, request: Request) -> Response:
        return _png(_numbered(self._examples, request.path_params["example"], "example"))

    async def _photo(self, request: Request) -> Response:
        """The photo as networks see it, for browsers that cannot show its file."""
        with self._queue.place():
            image = await read_photo(request, self._limits)
            return await anyio.to_thread.run_sync(_png, image)

    def _answer(self, to_response: Callable[[Any], Response]) -> Callable[[Request], Any]:
        """What sends a photo through a network, and answers with the result in some form."""

        async def answer(request: Request) -> Response:
            network = self._network(request)
            with self._queue.place():
                image = await read_photo(request, self._limits)
                waiting = self._queue.submit(network.see, image)
                result = await _result_of(waiting, request)
                return await anyio.to_thread.run_sync(to_response, result)

        return answer

    async def _layer(self, request: Request) -> Response:
        """What a network makes of the photo, in lines of JSON, see `_streamed`."""
        return await self._streamed(request, self._network(request).see, layer_to_plain)

    async def _map(self, request: Request) -> Response:
        """What a block attends to from a point, in lines of JSON, see `_streamed`."""
        network = self._network(request)
        block = request.query_params.get("block", "")
        if block not in network.blocks:
            raise HTTPException(404, "the network has no such block; GET /networks lists them")
        point = _point(request.query_params)
        return await self._streamed(
            request, network.attention_work(block, point), lambda found: map_to_plain(block, found)
        )

    async def _streamed(
        self, request: Request, work: Work, to_plain: Callable[[Any], Mapping[str, Any]]
    ) -> Response:
        """Lines of JSON: how the photo's turn comes, and at last what came of it."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._queue.place())
            image = await read_photo(request, self._limits)
            waiting = self._queue.submit(work, image)
            stack.callback(waiting.result.cancel)
            held = stack.pop_all()
            return _Stream(self._states(waiting, to_plain, held), held)

    async def _states(
        self,
        waiting: Waiting,
        to_plain: Callable[[Any], Mapping[str, Any]],
        held: contextlib.ExitStack,
    ) -> AsyncIterator[str]:
        finished, said = asyncio.wrap_future(waiting.result), None
        while not finished.done():
            state: dict[str, Any] = {"state": "running"}
            if not waiting.result.running():
                state = {"state": "waiting", "ahead": self._queue.ahead(waiting)}
            if state != said:
                said = state
                yield json.dumps(state) + "\n"
            await asyncio.wait({finished}, timeout=_SECONDS_BETWEEN_LOOKS)
        try:
            result = finished.result()
        except InputError as error:
            state = {"state": "failed", "error": str(error)}
        except Exception:  # the queue has logged it
            state = {"state": "failed", "error": _FAILED}
        else:
            state = {"state": "done", **await anyio.to_thread.run_sync(to_plain, result)}
        held.close()  # before the last line is sent, which takes as long as its reader likes
        yield json.dumps(state) + "\n"

    def _network(self, request: Request) -> Served:
        return _numbered(self._networks, request.path_params["network"], "network")


def _numbered(entries: Sequence[_E], number: str, kind: str) -> _E:
    """The entry of a number as it stands in a path.

    Raises:
        HTTPException: there is none.
    """
    for known, entry in enumerate(entries):
        if str(known) == number:
            return entry
    raise HTTPException(404, f"there is no such {kind}; GET /networks says which there are")


class _Stream(StreamingResponse):
    """Lines that come as they are made.

    Args:
        lines: each a JSON object.
        held: closed when all are sent, or nobody reads them any more, if not by then.
    """

    def __init__(self, lines: AsyncIterator[str], held: contextlib.ExitStack):
        super().__init__(lines, media_type="application/x-ndjson")
        self._held = held

    async def __call__(self, *scope: Any) -> None:
        with self._held:
            await super().__call__(*scope)


async def _result_of(waiting: Waiting, request: Request) -> ShownResult:
    """The result, once it is there.

    Raises:
        HTTPException: the network takes no such image, or fails.
        ClientDisconnect: whoever asked is gone, and so is the turn.
    """
    finished = asyncio.wrap_future(waiting.result)
    try:
        while not finished.done():
            await asyncio.wait({finished}, timeout=_SECONDS_BETWEEN_LOOKS)
            if await request.is_disconnected():
                raise ClientDisconnect
        return finished.result()
    except InputError as error:
        raise HTTPException(422, str(error)) from error
    except ClientDisconnect:
        raise
    except Exception as error:  # the queue has logged it
        raise HTTPException(500, _FAILED) from error
    finally:
        waiting.result.cancel()  # the turn, if it has not come; that of `finished` would lag behind


def _point(query: QueryParams) -> Point:
    """The point that a query names, by `x` and `y`; the middle of the image by default.

    Raises:
        HTTPException: they are no numbers from 0 to 1.
    """
    try:
        x, y = (float(query.get(name, "0.5")) for name in ("x", "y"))
    except ValueError:
        x = y = math.nan
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise HTTPException(400, "x and y are a point of the image; expected numbers from 0 to 1")
    return x, y


def _result_json(result: ShownResult) -> Response:
    return JSONResponse(result.to_plain())


def _picture_png(result: ShownResult) -> Response:
    return _png(np.asarray(result.picture().convert("RGB")))


def _regions_png(result: ShownResult) -> Response:
    height, width = result.image.shape[:2]
    regions = result.layer((height, width)).regions
    if regions is None:
        raise HTTPException(404, "this network says nothing of single pixels; ask for result.json")
    small = regions.astype(np.uint8) if regions.max(initial=0) < 256 else regions
    return _png(small)


def _png(image: UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w"]) -> Response:
    return Response(encode_png(image), media_type="image/png")


def _file(content: bytes, kind: str) -> Callable[[Request], Response]:
    return lambda request: Response(content, media_type=kind)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


def _full(request: Request, error: Exception) -> Response:
    return JSONResponse(
        {"error": "as many requests as are taken wait already; try again in a moment"},
        503,
        headers={"retry-after": str(_SECONDS_TO_TRY_AGAIN)},
    )


def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it


def _failed(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "the server failed; its log says how"}, 500)
