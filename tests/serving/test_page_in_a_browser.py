"""The page in Chromium: drop, result, point, download, on a phone's width and in the dark."""

import io
import json
import time

import numpy as np
import pytest
from PIL import Image

from gcnet_jax.serving import Application, Guard, NetworkQueue, Served
from tests.serving.browser import CHROMIUM, browser
from tests.serving.conftest import CLASSES, LIMITS, Brightness, Rows, encoded, half_bright, running

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

DONE = "document.querySelector('#progress').hidden && document.querySelector('#first-legend li')"
HOSTILE = "<img src=x onerror=alert(1)>"
# What a hand does that drops a file of some bytes and name.
DROP = """(() => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(%s)], "sky.old.png"));
  const event = (kind) => new DragEvent(kind, { dataTransfer: data, bubbles: true });
  document.querySelector("#drop").dispatchEvent(event("dragover"));
  document.querySelector("#drop").dispatchEvent(event("drop"));
})()"""


@pytest.fixture(scope="module")
def network():
    return Brightness()


@pytest.fixture(scope="module")
def queue():
    with NetworkQueue(places=4, batch_size=8) as queue:
        yield queue


@pytest.fixture(scope="module")
def url(network, queue):
    """The address of a server in this process."""
    served = [Served("brightness", network, Rows()), Served(f"<b>{HOSTILE}</b>", network)]
    application = Application(served, [half_bright()] * 2, queue, LIMITS).starlette()
    with running(Guard(application)) as address:
        yield address


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(chromium, url, tmp_path):
    chromium.resize(1000, 900)
    chromium.download_into(tmp_path)
    chromium.open(url)
    chromium.wait_for("document.querySelectorAll('#examples button').length")
    chromium.problems.clear()
    yield chromium
    assert chromium.problems == []


def text(page, selector):
    return page.evaluate(f"document.querySelector('{selector}').innerText")


def drop(page, content):
    page.evaluate(DROP % list(content))


def downloaded(folder, name):
    end = time.monotonic() + 30
    while not (folder / name).exists():
        assert time.monotonic() < end, list(folder.iterdir())
        time.sleep(0.02)
    return (folder / name).read_bytes()


def test_a_dropped_photo_is_shown_read_and_downloaded(page, tmp_path):
    page.evaluate("document.querySelector('#second-network').value = ''")
    drop(page, encoded(half_bright()))
    page.wait_for(DONE)
    assert text(page, "#first-legend").split() == [
        "brightness",
        *["share", "of", "the", "image"],
        "dark",
        "66.7%",
        "bright",
        "33.3%",
    ]
    page.click("#stage", 0.9, 0.5)
    assert text(page, "#reading") == "bright, 33.3%"
    page.click("#stage", 0.1, 0.5)
    assert text(page, "#reading") == "dark, 66.7%"
    assert text(page, "#first-legend li.read span") == "dark"

    page.evaluate("document.querySelector('#opacity').value = 100")
    page.click("#save-picture")
    picture = np.asarray(Image.open(io.BytesIO(downloaded(tmp_path, "sky.old_result.png"))))
    assert picture.shape[:2] == (20, 30)
    expected = np.array(CLASSES.palette)[(half_bright()[..., 0] > 127).astype(int)]
    np.testing.assert_allclose(picture[..., :3], expected, atol=2)
    page.click("#save-json")
    found = json.loads(downloaded(tmp_path, "sky.old_result.json"))
    assert found["network"] == "brightness"
    assert [x["class"] for x in found["result"]["classes"]] == ["dark", "bright"]


def change(page, selector, value):
    page.evaluate(
        f"(() => {{ const x = document.querySelector('{selector}'); x.value = {value!r};"
        " x.dispatchEvent(new Event('change')); })()"
    )


def test_a_result_keeps_the_name_of_its_network_while_another_is_asked(page, network, tmp_path):
    page.evaluate("document.querySelector('#second-network').value = ''")
    drop(page, encoded(half_bright()))
    page.wait_for(DONE)
    network.may_go_on.clear()
    try:
        change(page, "#first-network", "1")
        page.click("#save-json")
        assert json.loads(downloaded(tmp_path, "sky.old_result.json"))["network"] == "brightness"
        assert text(page, "#first-legend h2") == "brightness"
    finally:
        network.may_go_on.set()
    page.wait_for("document.querySelector('#first-legend h2').innerText.includes('onerror')")


def test_a_result_that_comes_late_is_never_of_the_next_photo(page):
    page.evaluate("document.querySelector('#second-network').value = ''")
    page.evaluate("""(() => {
      const decode = HTMLImageElement.prototype.decode;
      const gate = new Promise((resolve) => (window.open_gate = resolve));
      window.calls = 0;
      HTMLImageElement.prototype.decode = function () {
        window.calls += 1;
        return window.calls === 2 ? gate : decode.call(this);  // when the first result is there
      };
    })()""")
    drop(page, encoded(half_bright()))
    page.wait_for("window.calls === 2")
    drop(page, encoded(np.zeros((20, 30, 3), np.uint8)))
    page.wait_for(DONE)
    page.evaluate("(window.open_gate(), new Promise((resolve) => setTimeout(resolve, 50)))")
    change(page, "#first-layer", "")
    page.wait_for(DONE)
    assert "100.0%" in text(page, "#first-legend li")


def test_an_example_that_cannot_be_fetched_and_a_picture_that_cannot_be_made_are_said(page):
    page.click("#examples button")
    page.wait_for(DONE)
    page.evaluate("HTMLCanvasElement.prototype.toBlob = (then) => then(null)")
    page.click("#save-picture")
    assert "cannot make a picture" in text(page, "#status.wrong")
    page.evaluate("window.fetch = () => Promise.reject(new TypeError('it is gone'))")
    page.click("#examples button")
    page.wait_for("document.querySelector('#status').innerText.includes('it is gone')")


def test_an_example_that_comes_late_does_not_replace_a_dropped_photo(page):
    page.evaluate("""(() => {
      const fetched = window.fetch;
      const gate = new Promise((resolve) => (window.open_gate = resolve));
      window.fetch = (path, options) =>
        path.startsWith("examples/") ? gate.then(() => fetched(path)) : fetched(path, options);
    })()""")
    page.click("#examples button")
    drop(page, encoded(np.zeros((10, 12, 3), np.uint8)))
    page.wait_for(DONE)
    page.evaluate("(window.open_gate(), new Promise((resolve) => setTimeout(resolve, 50)))")
    page.wait_for(DONE)
    assert page.evaluate("document.querySelector('#photo').naturalWidth") == 12


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (bytes(LIMITS.size + 1), "200,001 bytes; at most 200,000 are taken"),
        (encoded(half_bright(200, 300)), "60,000 pixels; at most 50,000 are taken"),
    ],
)
def test_a_photo_that_is_too_large_is_not_sent(page, content, says):
    page.evaluate("performance.clearResourceTimings()")
    drop(page, content)
    page.wait_for("document.querySelector('#status.wrong')")
    assert says in text(page, "#status")
    paths = page.evaluate("performance.getEntriesByType('resource').map(({ name }) => name)")
    assert not any("/networks/" in path for path in paths)
    assert page.evaluate("document.querySelector('#progress').hidden")


def test_the_photo_under_attention_is_grey_in_browsers_without_filters_too(page):
    red, green, blue = page.evaluate("""(async () => {
      delete CanvasRenderingContext2D.prototype.filter;
      const { AttentionLayer } = await import("./layers.js");
      const [photo, shown] = [0, 1].map(() => document.createElement("canvas").getContext("2d"));
      photo.fillStyle = "rgb(200 40 90)";
      photo.fillRect(0, 0, 300, 150);
      const map = { width: 1, height: 1, weights: [1], window: [0, 0, 1, 1] };
      new AttentionLayer("any", map).draw(shown, 300, 150, 0, photo.canvas);
      return [...shown.getImageData(5, 5, 1, 1).data].slice(0, 3);
    })()""")
    assert red == green == blue
    assert 80 < red < 110  # as bright as it was


def test_everything_is_done_by_keyboard_too(page):
    page.evaluate("document.querySelector('#examples button').focus()")
    page.press("Enter")
    page.wait_for(DONE)
    page.evaluate("document.querySelector('#stage').focus()")
    for _ in range(15):
        page.press("ArrowRight")
    page.wait_for("document.querySelector('#reading').innerText.includes('bright')")
    assert page.evaluate("!document.querySelector('#cross').hidden")
    reached = set()
    for _ in range(20):
        page.press("Tab")
        reached.add(page.evaluate("document.activeElement.id"))
    sides = {f"{side}-{what}" for side in ("first", "second") for what in ("network", "layer")}
    assert reached >= {"file", *sides, "stage", "opacity", "split", "save-picture", "save-json"}


def test_two_networks_stand_side_by_side_with_a_slider_between(page):
    page.click("#examples button")
    page.wait_for(DONE)
    page.wait_for("!document.querySelector('#second-legend').hidden")
    assert text(page, "#second-legend h2") == f"<b>{HOSTILE}</b>"  # and no markup
    page.evaluate(
        "(() => { const x = document.querySelector('#split'); x.value = 20;"
        " x.dispatchEvent(new Event('input')); })()"
    )
    clips = [
        page.evaluate(f"document.querySelector('{x}').style.clipPath")
        for x in ("#first", "#second")
    ]
    assert clips == ["inset(0px 80% 0px 0px)", "inset(0px 0px 0px 20%)"]


def test_a_click_asks_where_a_block_attends_to_from_that_point(page):
    page.evaluate("document.querySelector('#second-network').value = ''")
    page.evaluate("document.querySelector('#first-layer').value = 'head.context'")
    page.click("#examples button")
    page.wait_for("document.querySelector('#first-legend .bar')")
    page.click("#stage", 0.5, 0.1)
    page.wait_for("document.querySelector('#reading').innerText.includes('4 x the mean')")
    page.click("#stage", 0.5, 0.9)
    page.wait_for("document.querySelector('#reading').innerText.includes('4 x the mean')")
    assert "for the marked point" in text(page, "#first-legend p")


def test_it_fits_a_phone_and_the_dark(page):
    page.resize(390, 844, dark=True, mobile=True)
    page.click("#examples button")
    page.wait_for(DONE)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    ground = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert sum(map(int, ground[4:-1].split(","))) < 150


def test_a_file_that_the_browser_cannot_show_is_shown_by_the_server(page):
    drop(page, encoded(half_bright(), "TIFF"))
    page.wait_for(DONE)
    assert page.evaluate("document.querySelector('#photo').naturalWidth") == 30


def test_what_is_no_photo_is_said_and_the_next_is_taken(page):
    drop(page, b"no photo")
    page.wait_for("document.querySelector('#status.wrong')")
    assert "not an image" in text(page, "#status")
    assert page.problems.pop()  # the browser notes the status
    page.problems.clear()
    drop(page, encoded(half_bright()))
    page.wait_for(DONE)
    assert text(page, "#status") == ""


def test_a_second_request_says_that_it_waits(page, network, queue):
    network.may_go_on.clear()
    before = len(network.batches)
    try:
        queue.submit(network, half_bright())
        while len(network.batches) == before:
            time.sleep(0.01)
        drop(page, encoded(half_bright()))
        page.wait_for("document.querySelector('#status').innerText.includes('1 before this one')")
        assert page.evaluate("!document.querySelector('#progress').hidden")
    finally:
        network.may_go_on.set()
    page.wait_for(DONE)
