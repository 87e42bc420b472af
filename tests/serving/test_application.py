"""What the server answers to those who ask as they should."""

import asyncio
import contextlib
import io
import json
import time
from typing import ClassVar

import cv2
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from gcnet_jax.analysis import AttentionMap
from gcnet_jax.errors import InputError
from gcnet_jax.serving import Application, Served
from gcnet_jax.task import Layer
from gcnet_jax.tasks.segmentation.result import SegmentationResult
from tests.serving.conftest import LIMITS, encoded, half_bright, in_thread, wait_until

PHOTO = encoded(half_bright())


def test_a_photo_comes_back_as_json(client):
    answer = client.post("/networks/0/result.json", content=PHOTO)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    found = answer.json()
    assert (found["height"], found["width"]) == (20, 30)
    assert [(x["class"], x["index"]) for x in found["classes"]] == [("dark", 0), ("bright", 1)]
    assert [x["share"] for x in found["classes"]] == pytest.approx([2 / 3, 1 / 3])


def test_a_photo_comes_back_as_a_picture(client, network):
    answer = client.post("/networks/0/picture.png", content=PHOTO)
    assert answer.headers["content-type"] == "image/png"
    picture = np.asarray(Image.open(io.BytesIO(answer.content)))
    np.testing.assert_array_equal(picture, network([half_bright()])[0].picture())


def test_the_class_of_each_pixel_comes_back(client):
    answer = client.post("/networks/0/regions.png", content=PHOTO)
    regions = np.asarray(Image.open(io.BytesIO(answer.content)))
    np.testing.assert_array_equal(regions, half_bright()[..., 0] > 127)
    assert regions.dtype == np.uint8


def test_more_objects_than_8_bits_can_number_have_regions_of_16(client, monkeypatch):
    regions = np.arange(600, dtype=np.uint16).reshape(20, 30)
    layer = Layer([], "score", regions)
    monkeypatch.setattr(SegmentationResult, "layer", lambda self, size: layer)
    answer = client.post("/networks/0/regions.png", content=PHOTO)
    read = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(read, regions)


def test_the_page_gets_regions_that_make_up_the_image(client):
    answer = client.post("/networks/1/layer", content=PHOTO)
    *states, done = map(json.loads, answer.text.splitlines())
    assert {x["state"] for x in states} <= {"waiting", "running"}
    regions = done["layer"]["regions"]
    runs = np.array(regions["runs"]).reshape(-1, 2)
    label = np.repeat(*runs.T).reshape(regions["height"], regions["width"])
    np.testing.assert_array_equal(label, half_bright()[..., 0] > 127)
    assert [part["name"] for part in done["layer"]["parts"]] == ["dark", "bright"]
    assert done["result"] == client.post("/networks/1/result.json", content=PHOTO).json()


def test_a_photo_is_seen_as_it_is_displayed(client):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise
    turned = encoded(half_bright(), "JPEG", exif=exif)
    found = client.post("/networks/0/result.json", content=turned).json()
    assert (found["height"], found["width"]) == (30, 20)
    shown = Image.open(io.BytesIO(client.post("/photo.png", content=turned).content))
    assert shown.size == (20, 30)


def test_a_large_result_is_made_smaller_for_the_page(client, network, monkeypatch):
    monkeypatch.setattr("gcnet_jax.serving.shown_layers._LONGEST_EDGE", 15)
    done = json.loads(client.post("/networks/0/layer", content=PHOTO).text.splitlines()[-1])
    assert (done["width"], done["height"]) == (30, 20)
    assert (done["layer"]["regions"]["width"], done["layer"]["regions"]["height"]) == (15, 10)


def test_the_server_says_what_it_has(client):
    said = client.get("/networks").json()
    assert said["networks"] == [
        {"name": "brightness", "blocks": ["head.context"]},
        {"name": "the same", "blocks": []},
    ]
    assert said["examples"] == 1
    assert said["limits"] == {"bytes": 200_000, "pixels": 50_000, "requests": 4}
    example = np.asarray(Image.open(io.BytesIO(client.get("/examples/0.png").content)))
    np.testing.assert_array_equal(example, half_bright())


@pytest.mark.parametrize("path", ["/", "/page.css", "/page.js", "/networks", "/nowhere"])
def test_every_answer_keeps_browsers_to_this_server(client, path):
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert "http" not in headers["content-security-policy"]


def test_the_page_needs_no_other_host(client):
    for path in ("/", "/page.css", "/page.js", "/layers.js", "/legends.js", "/requests.js"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert "http:" not in answer.text
        assert "https:" not in answer.text


def test_a_request_too_many_is_refused_clearly_and_the_others_are_answered(client, network, queue):
    network.may_go_on.clear()
    answers = []

    def ask():
        answers.append(client.post("/networks/0/result.json", content=PHOTO))

    with in_thread(ask):
        wait_until(lambda: network.batches == [1])
        with in_thread(ask), in_thread(ask), in_thread(ask):
            wait_until(lambda: queue.taken == queue.places)
            full = client.post("/networks/0/result.json", content=PHOTO)
            assert full.status_code == 503
            assert int(full.headers["retry-after"]) > 0
            assert "try again" in full.json()["error"]
            network.may_go_on.set()
    assert [answer.status_code for answer in answers] == [200] * 4
    assert client.post("/networks/0/result.json", content=PHOTO).status_code == 200


def test_whoever_waits_is_told_how_many_come_before(client, network, queue):
    network.may_go_on.clear()
    lines = []

    def watch():
        lines.extend(client.post("/networks/0/layer", content=PHOTO).text.splitlines())

    with in_thread(lambda: client.post("/networks/0/result.json", content=PHOTO)):
        wait_until(lambda: network.batches == [1])
        with in_thread(watch):
            wait_until(lambda: queue.taken == 2)
            time.sleep(0.3)  # until it has looked
            network.may_go_on.set()
    states = [json.loads(line) for line in lines]
    assert states[0] == {"state": "waiting", "ahead": 1}
    assert states[-1]["state"] == "done"


def scope_of(path):
    """A request as servers hand it to applications."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "method": "POST",
        "path": path,
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1:8000")],
    }


def test_the_place_is_given_back_before_the_last_line_is_sent(application, queue):
    taken = []

    async def receive():
        return {"type": "http.request", "body": PHOTO}

    async def send(message):
        if b'"done"' in message.get("body", b""):
            taken.append(queue.taken)

    asyncio.run(application(scope_of("/networks/0/layer"), receive, send))
    assert taken == [0]


def test_whoever_goes_away_gives_the_turn_up_no_later_than_the_place(
    application, network, queue, monkeypatch
):
    network.may_go_on.clear()
    queue.submit(network, half_bright())
    submit, place, turns, given_up = queue.submit, queue.place, [], []

    @contextlib.contextmanager
    def noted():
        with place():
            try:
                yield
            finally:
                given_up.append(turns[0].result.cancelled())

    monkeypatch.setattr(queue, "place", noted)
    monkeypatch.setattr(queue, "submit", lambda *x: turns.append(submit(*x)) or turns[-1])
    messages = iter([{"type": "http.request", "body": PHOTO}])

    async def receive():
        return next(messages, {"type": "http.disconnect"})

    async def send(message):
        pass

    asyncio.run(application(scope_of("/networks/0/result.json"), receive, send))
    network.may_go_on.set()
    assert given_up == [True]


def test_a_network_that_fails_harms_no_other_request(client, network, monkeypatch, caplog):
    def fail(images):
        raise RuntimeError("out of something")

    monkeypatch.setattr("tests.serving.conftest.Brightness.__call__", lambda self, x: fail(x))
    answer = client.post("/networks/0/result.json", content=PHOTO)
    assert answer.status_code == 500
    assert "out of something" not in answer.text  # which may quote a path
    assert json.loads(client.post("/networks/0/layer", content=PHOTO).text.splitlines()[-1]) == {
        "state": "failed",
        "error": "the network failed; the server's log says how",
    }
    assert "out of something" in caplog.text  # the server's log says how
    monkeypatch.undo()
    assert client.post("/networks/0/result.json", content=PHOTO).status_code == 200


def test_a_network_that_refuses_a_photo_says_why(client, monkeypatch):
    def refuse(self, images):
        raise InputError("the photo is lower than the network's window")

    monkeypatch.setattr("tests.serving.conftest.Brightness.__call__", refuse)
    answer = client.post("/networks/0/result.json", content=PHOTO)
    assert (answer.status_code, answer.json()["error"]) == (
        422,
        "the photo is lower than the network's window",
    )


def test_the_attention_of_a_block_from_a_point_comes_back(client):
    path = "/networks/0/attention?block=head.context&x=0.2&y=0.9"
    found = json.loads(client.post(path, content=PHOTO).text.splitlines()[-1])
    assert found["state"] == "done"
    assert (found["block"], found["of_query"], found["window"]) == (
        "head.context",
        True,
        [0, 0, 1, 1],
    )
    assert found["weights"] == [0] * 18 + [4] * 6  # times the mean


class NumberOfBlock:
    """Attention that says of which block it is, on a part of the image."""

    blocks: ClassVar = {"first": False, "second": False}

    def __call__(self, image, block, point):
        weights = np.ones((1, 2), np.float32)
        weights[0, list(self.blocks).index(block)] = 3
        return AttentionMap(weights, (0.1, 0.2, 0.8, 0.9), of_query=False)


@pytest.mark.parametrize(("block", "weights"), [("first", [1.5, 0.5]), ("second", [0.5, 1.5])])
def test_of_several_blocks_the_one_that_is_asked_for_is_drawn_on_its_window(
    network, queue, block, weights
):
    served = Served("any", network, NumberOfBlock())
    client = TestClient(Application([served], [], queue, LIMITS).starlette())
    answer = client.post(f"/networks/0/attention?block={block}", content=PHOTO)
    found = json.loads(answer.text.splitlines()[-1])
    assert (found["weights"], found["of_query"]) == (weights, False)
    assert found["window"] == [0.1, 0.2, 0.8, 0.9]
