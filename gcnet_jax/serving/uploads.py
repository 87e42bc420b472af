"""Photos out of requests: bounded in bytes, in pixels and in time, and decoded."""

import asyncio
import contextlib
import dataclasses
import math
import warnings
from collections.abc import Iterator

import anyio.to_thread
import cv2
import numpy as np
from jaxtyping import UInt8
from starlette.exceptions import HTTPException
from starlette.requests import Request

from gcnet_jax.data import displayed, said_size
from gcnet_jax.errors import InputError

_EXAMPLE = "curl --data-binary @photo.jpg"


@dataclasses.dataclass(frozen=True)
class UploadLimits:
    """What a photo of a request may be.

    Attributes:
        size: most bytes of the file.
        pixels: most pixels of the image.
        seconds: until all of it has come.
    """

    size: int = 20_000_000
    pixels: int = 24_000_000
    seconds: float = 30.0


async def read_photo(request: Request, limits: UploadLimits) -> UInt8[np.ndarray, "h w 3"]:
    """Reads the photo that is a request's body, as it is displayed.

    Raises:
        HTTPException: there is none, it is too large, comes too slowly, or is no whole image; the
            status and the detail say which.
    """
    encoded = await _read_body(request, limits)
    pixels = math.prod(said_size(encoded) or (0,))
    if pixels > limits.pixels:
        raise HTTPException(
            413, f"the photo has {pixels:,} pixels; at most {limits.pixels:,} are taken"
        )
    try:
        return await anyio.to_thread.run_sync(_decode, encoded, limits)
    except InputError as error:
        raise HTTPException(422, str(error)) from error


@contextlib.contextmanager
def decoders_silenced() -> Iterator[None]:
    """Has decoders not remark on photos in the server's log, which is no concern of who runs it.

    Whoever sends a photo is told if it cannot be used. What libjpeg and libpng say in OpenCV is
    beyond reach.
    """
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")
            yield
    finally:
        cv2.utils.logging.setLogLevel(level)


async def _read_body(request: Request, limits: UploadLimits) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind.startswith("multipart/"):
        raise HTTPException(
            415, f"the body is a form; expected the bytes of one image, as by {_EXAMPLE}"
        )
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, "the body is compressed; expected the bytes of one image")
    too_large = HTTPException(
        413, f"the photo has too many bytes; at most {limits.size:,} are taken: make it smaller"
    )
    said = request.headers.get("content-length", "")
    if said.isdecimal() and int(said) > limits.size:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(limits.seconds):
            async for piece in request.stream():
                body += piece
                if len(body) > limits.size:
                    raise too_large
    except TimeoutError as error:
        raise HTTPException(
            408, f"the photo has not come whole within {limits.seconds:g} s"
        ) from error
    if not body:
        raise HTTPException(
            400, f"the body is empty; expected the bytes of one image, as by {_EXAMPLE}"
        )
    return bytes(body)


def _decode(encoded: bytes, limits: UploadLimits) -> UInt8[np.ndarray, "h w 3"]:
    return displayed(encoded, "the photo", max_pixels=limits.pixels).pixels
