"""Requests that the server refuses: with which status, and that it goes on after them."""

import gzip
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import gcnet_jax
from gcnet_jax.serving import decoders_silenced
from tests.serving.conftest import LIMITS, encoded, half_bright

PHOTO = encoded(half_bright())
JPEG = encoded(half_bright(), "JPEG")
RESULT = "/networks/0/result.json"
ATTENTION = "/networks/0/attention?block=head.context"
NOISE = encoded(np.random.default_rng(0).integers(0, 256, (220, 220, 3)).astype(np.uint8))
PATH = "../../etc/passwd"


def chunk(kind, content):
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png(width, height, pixels=b"", *, depth=8, color=2):
    """A PNG that says it has some size, whatever pixels there are."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def of_kind(kind):
    return encoded(half_bright(), kind)


def form(*files):
    """The body of an upload by a form, with some file names."""
    parts = [
        f'--x\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n\r\n'.encode()
        + PHOTO
        + b"\r\n"
        for name in files
    ]
    return {"content": b"".join(parts) + b"--x--\r\n", "headers": FORM}


FORM = {"content-type": "multipart/form-data; boundary=x"}
BAD_PHOTOS = {
    "nothing": (400, b""),
    "a zero byte": (422, b"\0"),
    "zero bytes": (422, bytes(10_000)),
    "text": (422, b"a photo"),
    "HTML": (422, b"<html><script>alert(1)</script></html>"),
    "SVG": (422, b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'),
    "JSON": (422, b'{"image": "photo.jpg"}'),
    "a path": (422, b"/etc/passwd"),
    "an address": (422, b"http://169.254.169.254/latest/meta-data"),
    "a pickle": (422, b"cos\nsystem\n(S'true'\ntR."),
    "a ZIP archive": (422, b"PK\x03\x04" + bytes(100)),
    "a PDF": (422, b"%PDF-1.7\n"),
    "PostScript": (422, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
    "an icon": (422, of_kind("ICO")),
    "a video": (422, b"\0\0\0\x18ftypmp42" + bytes(100)),
    "gzip": (422, gzip.compress(PHOTO)),
    "the beginning of a PNG alone": (422, PHOTO[:8]),
    "a PNG cut in its header": (422, PHOTO[:20]),
    "a PNG cut in its pixels": (422, PHOTO[: len(PHOTO) // 2]),
    "a PNG with a changed byte": (422, NOISE[:5000] + bytes([NOISE[5000] ^ 255]) + NOISE[5001:]),
    "a JPEG cut in its header": (422, JPEG[:12]),
    "a JPEG cut in its pixels": (422, JPEG[: -len(JPEG) // 3]),
    "a WebP cut": (422, of_kind("WEBP")[:40]),
    "a TIFF cut": (422, of_kind("TIFF")[:60]),
    "a GIF cut": (422, of_kind("GIF")[:20]),
    "a BMP cut": (422, of_kind("BMP")[:60]),
    "a PPM cut": (422, of_kind("PPM")[:60]),
    "a PPM without pixels": (422, b"P6\n10 10\n255\n"),
    "a PPM that says it is large": (413, b"P6\n100000 100000\n255\n"),
    "a PNG without width": (422, png(0, 10)),
    "a PNG without pixels": (422, png(10, 10)),
    "a PNG of unknown depth": (422, png(10, 10, bytes(300), depth=7)),
    "a PNG that says it is huge": (413, png(60_000, 60_000)),
    "a PNG wider than any image": (413, png(2_000_000_000, 1)),
    "a PNG higher than any image": (413, png(1, 2_000_000_000)),
    "a small file of too many pixels": (413, encoded(np.zeros((400, 400, 3), np.uint8))),
    "a file of too many bytes": (413, PHOTO + bytes(LIMITS.size)),
    "floats of 32 bits": (422, None),
}


def float_tiff():
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((9, 9), np.float32)).save(buffer, "TIFF")
    return buffer.getvalue()


BAD_PHOTOS["floats of 32 bits"] = (422, float_tiff())

BAD_REQUESTS = {
    "a form": (415, "POST", RESULT, form("photo.png")),
    "a form of two files": (415, "POST", RESULT, form("a.png", "b.png")),
    "a form whose file has a path": (415, "POST", RESULT, form(PATH)),
    "a form without a file": (415, "POST", RESULT, {"content": b"--x--\r\n", "headers": FORM}),
    "a compressed body": (
        415,
        "POST",
        RESULT,
        {"content": gzip.compress(PHOTO), "headers": {"content-encoding": "gzip"}},
    ),
    "GET for a result": (405, "GET", RESULT, {}),
    "PUT": (405, "PUT", RESULT, {"content": PHOTO}),
    "DELETE": (405, "DELETE", RESULT, {}),
    "OPTIONS": (405, "OPTIONS", RESULT, {}),
    "POST to the page": (405, "POST", "/", {"content": PHOTO}),
    "a network that is not there": (404, "POST", "/networks/2/result.json", {"content": PHOTO}),
    "a network below zero": (404, "POST", "/networks/-1/result.json", {"content": PHOTO}),
    "a path with a slash behind it": (404, "GET", "/networks/", {}),
    "a result with a slash behind it": (404, "POST", f"{RESULT}/", {"content": PHOTO}),
    "a network by a name": (404, "POST", "/networks/runs/result.json", {"content": PHOTO}),
    "a network by a path": (404, "POST", f"/networks/{PATH}/result.json", {"content": PHOTO}),
    "a network by an escaped path": (
        404,
        "POST",
        "/networks/%2e%2e%2f%2e%2e/result.json",
        {"content": PHOTO},
    ),
    "a very large number": (404, "POST", f"/networks/{'9' * 5000}/result.json", {}),
    "a result of an unknown kind": (404, "POST", "/networks/0/result.exe", {"content": PHOTO}),
    "a block that is not there": (
        404,
        "POST",
        "/networks/0/attention?block=__class__",
        {"content": PHOTO},
    ),
    "no block": (404, "POST", "/networks/0/attention", {"content": PHOTO}),
    "a point outside": (400, "POST", f"{ATTENTION}&x=1.1&y=0", {"content": PHOTO}),
    "a point that is no number": (400, "POST", f"{ATTENTION}&x=nan&y=0", {"content": PHOTO}),
    "a point in words": (400, "POST", f"{ATTENTION}&x=left&y=0", {"content": PHOTO}),
    "an example that is not there": (404, "GET", "/examples/1.png", {}),
    "an example by a path": (404, "GET", "/examples/../page.js.png", {}),
    "a file of the server by a path": (404, "GET", "/..%2fapplication.py", {}),
    "a file of the machine": (404, "GET", "//etc/passwd", {}),
    "a foreign host": (421, "GET", "/", {"headers": {"host": "evil.example"}}),
    "a foreign host with our port": (421, "GET", "/", {"headers": {"host": "evil.example:8000"}}),
    "a host that begins as ours": (
        421,
        "GET",
        "/",
        {"headers": {"host": "127.0.0.1.evil.example:8000"}},
    ),
    "an address of another machine": (421, "GET", "/", {"headers": {"host": "192.0.2.1:8000"}}),
    "a host with a user": (400, "GET", "/", {"headers": {"host": "evil.example@127.0.0.1:8000"}}),
    "a host with a path": (400, "GET", "/", {"headers": {"host": "127.0.0.1:8000/evil"}}),
    "a host with no number as port": (400, "GET", "/", {"headers": {"host": "127.0.0.1:x"}}),
    "an empty host": (400, "GET", "/", {"headers": {"host": ""}}),
    "a foreign origin": (
        403,
        "POST",
        RESULT,
        {"content": PHOTO, "headers": {"origin": "https://evil.example"}},
    ),
    "no origin in words": (403, "POST", RESULT, {"content": PHOTO, "headers": {"origin": "null"}}),
    "an origin of another port": (
        403,
        "POST",
        RESULT,
        {"content": PHOTO, "headers": {"origin": "http://127.0.0.1:9000"}},
    ),
    "an origin of another name of this machine": (
        403,
        "POST",
        RESULT,
        {"content": PHOTO, "headers": {"origin": "http://localhost:8000"}},
    ),
}


def test_there_are_many_kinds():
    assert len(BAD_PHOTOS) + len(BAD_REQUESTS) >= 50


def check_refusal(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert error
    assert "\n" not in error
    for folder in (Path(gcnet_jax.__file__).parent, Path(__file__).parent):
        assert str(folder) not in error
    assert "Traceback" not in error


@pytest.mark.parametrize("kind", BAD_PHOTOS)
def test_a_bad_photo_is_refused_with_a_reason_and_the_next_is_answered(client, network, kind):
    status, content = BAD_PHOTOS[kind]
    for path in (RESULT, "/networks/0/layer", "/photo.png"):
        check_refusal(client.post(path, content=content), status)
    assert network.batches == []
    assert client.post(RESULT, content=PHOTO).status_code == 200


def test_decoders_remark_on_photos_nowhere(client, capfd, recwarn):
    with decoders_silenced():
        for kind in ("a TIFF cut", "floats of 32 bits"):
            client.post(RESULT, content=BAD_PHOTOS[kind][1])
    assert capfd.readouterr().err == ""
    assert list(recwarn) == []


@pytest.mark.parametrize("kind", BAD_REQUESTS)
def test_a_bad_request_is_refused_with_a_reason(client, network, kind):
    status, method, path, options = BAD_REQUESTS[kind]
    check_refusal(client.request(method, path, **options), status)
    assert network.batches == []


def test_a_body_that_says_no_length_is_bounded_too(client):
    def endless():
        for _ in range(100):
            yield bytes(LIMITS.size // 10)

    check_refusal(client.post(RESULT, content=endless()), 413)


def test_places_of_refused_requests_are_free_again(client, queue):
    for _ in range(queue.places + 1):
        client.post(RESULT, content=b"a photo")
        client.post("/networks/0/layer", content=b"")
    assert queue.taken == 0


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1:8000", None),
        ("localhost:8000", "http://localhost:8000"),
        ("LOCALHOST", "http://localhost"),
        ("[::1]:8000", "http://[::1]:8000"),
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("127.0.0.1:9999", "http://127.0.0.1:9999"),  # another port leads here
    ],
)
def test_the_page_itself_and_programs_of_this_machine_are_answered(application, host, origin):
    headers = {"host": host} | ({"origin": origin} if origin else {})
    answer = TestClient(application).post(RESULT, content=PHOTO, headers=headers)
    assert answer.status_code == 200
