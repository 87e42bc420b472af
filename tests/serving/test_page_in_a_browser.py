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
PROBLEM = "document.querySelector('#problem').innerText"
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
    assert text(page, "#first-legend li.read .name") == "dark"

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
    assert "cannot make a picture" in text(page, "#problem")
    page.evaluate("window.fetch = () => Promise.reject(new TypeError('it is gone'))")
    page.click("#examples button")
    page.wait_for("document.querySelector('#problem').innerText.includes('it is gone')")


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
    drop(page, encoded(half_bright()))
    page.wait_for(DONE)
    page.evaluate("performance.clearResourceTimings()")
    drop(page, content)
    page.wait_for(PROBLEM)
    assert says in text(page, "#problem")
    paths = page.evaluate("performance.getEntriesByType('resource').map(({ name }) => name)")
    assert not any("/networks/" in path for path in paths)
    assert page.evaluate("document.querySelector('#shown').hidden")
    assert page.evaluate("document.querySelector('#first-legend').textContent") == ""
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
    set_slider(page, "#split", 20)
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
    page.wait_for(PROBLEM)
    assert "not an image" in text(page, "#problem")
    assert page.problems.pop()  # the browser notes the status
    page.problems.clear()
    drop(page, encoded(half_bright()))
    page.wait_for(DONE)
    assert text(page, "#problem") == ""
    assert text(page, "#status") == "Done."


def set_slider(page, selector, value):
    page.evaluate(
        f"(() => {{ const x = document.querySelector('{selector}'); x.value = {value};"
        " x.dispatchEvent(new Event('input')); })()"
    )


def can_save(page):
    return page.evaluate("!document.querySelector('.buttons button:disabled')")


def test_nothing_of_the_photo_before_stays_after_a_file_that_is_none(page):
    drop(page, encoded(half_bright()))
    page.wait_for(DONE)
    page.click("#stage", 0.9, 0.5)
    page.evaluate("document.querySelector('#save-json').focus()")
    drop(page, b"no photo")
    page.wait_for(PROBLEM)
    assert page.evaluate("document.querySelector('#problem').getAttribute('role')") == "alert"
    assert page.evaluate("document.querySelector('#shown').hidden")
    for selector in ("#reading", "#first-legend", "#second-legend", "#status"):
        assert page.evaluate(f"document.querySelector('{selector}').textContent") == ""
    assert not can_save(page)
    assert page.evaluate("document.activeElement.id") == "file"
    page.problems.clear()  # the browser notes the status


def test_nothing_can_be_saved_or_read_before_there_is_a_result(page, network):
    network.may_go_on.clear()
    try:
        drop(page, encoded(half_bright()))
        page.wait_for("!document.querySelector('#shown').hidden")
        page.click("#stage", 0.9, 0.5)
        assert not can_save(page)
        assert text(page, "#reading") == ""
    finally:
        network.may_go_on.set()
    page.wait_for(DONE)
    assert can_save(page)
    assert "bright, 33.3%" in text(page, "#reading")


def test_a_result_does_not_stay_under_the_name_of_a_network_that_failed(page):
    change(page, "#second-network", "")
    drop(page, encoded(half_bright()))
    page.wait_for(DONE)
    page.evaluate("""window.fetch = async () =>
      new Response('{"error": "try again in a moment"}', { status: 503 })""")
    change(page, "#first-network", "1")
    page.wait_for(PROBLEM)
    assert text(page, "#problem") == "Try again in a moment."
    assert page.evaluate("document.querySelector('#first-legend').textContent") == ""
    assert not can_save(page)
    change(page, "#first-network", "0")  # whose result is there
    page.wait_for(f"!{PROBLEM}")
    assert can_save(page)


def test_of_two_layers_the_reading_says_of_which_each_text_is(page, tmp_path):
    change(page, "#second-network", "0")
    change(page, "#second-layer", "head.context")
    drop(page, encoded(half_bright()))
    page.wait_for("document.querySelector('#second-legend .bar')")
    page.click("#stage", 0.9, 0.6)
    assert page.evaluate(
        "[...document.querySelectorAll('#reading span')].map((x) => x.innerText)"
    ) == ["brightness: bright, 33.3%", "brightness: head.context: attention 4 x the mean"]
    page.click("#save-json")
    first, second = json.loads(downloaded(tmp_path, "sky.old_result.json"))
    assert first["result"]["height"] == 20
    assert second["result"]["block"] == "head.context"


def test_a_picture_is_divided_where_the_slider_is(page, tmp_path):
    change(page, "#first-network", "0")
    change(page, "#second-layer", "")
    change(page, "#second-network", "0")
    change(page, "#second-layer", "head.context")
    drop(page, encoded(half_bright()))
    page.wait_for("document.querySelector('#second-legend .bar')")
    set_slider(page, "#opacity", 100)
    set_slider(page, "#split", 20)
    page.click("#save-picture")
    picture = np.asarray(Image.open(io.BytesIO(downloaded(tmp_path, "sky.old_result.png"))))
    np.testing.assert_allclose(picture[10, :6, :3], [CLASSES.palette[0]] * 6, atol=2)
    assert np.abs(picture[10, 6:, :3].astype(int) - CLASSES.palette[0]).sum(-1).min() > 20


def test_opacity_is_what_the_result_covers_of_the_photo(page):
    change(page, "#second-network", "")
    drop(page, encoded(half_bright()))
    page.wait_for(DONE)
    alphas = []
    for opacity in (0, 40, 100):
        set_slider(page, "#opacity", opacity)
        alphas.append(
            page.evaluate("""(() => {
              const canvas = document.querySelector("#first");
              return canvas.getContext("2d").getImageData(9, 9, 1, 1).data[3] / 255;
            })()""")
        )
    assert alphas == pytest.approx([0, 0.4, 1], abs=0.01)


def test_several_files_at_once_are_not_taken(page):
    page.evaluate("""(() => {
      const data = new DataTransfer();
      for (const name of ["a.png", "b.png"]) data.items.add(new File(["x"], name));
      const options = { dataTransfer: data, bubbles: true };
      document.querySelector("#drop").dispatchEvent(new DragEvent("drop", options));
    })()""")
    assert "one photo at a time" in text(page, "#problem")
    assert page.evaluate("document.querySelector('#shown').hidden")


@pytest.mark.parametrize("dark", [False, True])
def test_edges_of_controls_stand_out_and_the_focus_is_seen(page, dark):
    page.resize(1000, 900, dark=dark)
    ratios = page.evaluate("""(() => {
      const light = (color) => {
        const of = color.match(/[\\d.]+/g).slice(0, 3).map((value) => value / 255);
        const [r, g, b] = of.map((x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const ground = getComputedStyle(document.documentElement).backgroundColor;
      const controls = "#drop, select, .buttons button, #examples button";
      return [...document.querySelectorAll(controls)].flatMap((control) => {
        const style = getComputedStyle(control);
        const own = style.backgroundColor;
        return [ground, own.includes(", 0)") ? ground : own].map((beside) => {
          const [low, high] = [style.borderTopColor, beside].map(light).sort((a, b) => a - b);
          return (high + 0.05) / (low + 0.05);
        });
      });
    })()""")
    assert len(ratios) == 2 * (1 + 4 + 2 + 2)
    assert min(ratios) >= 3
    page.evaluate("document.querySelector('#first-network').focus()")
    page.press("Tab")
    outline = page.evaluate("""(() => {
      const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
      return [outlineStyle, outlineWidth];
    })()""")
    assert outline == ["solid", "3px"]


@pytest.mark.parametrize("width", [390, 1280])
def test_blocks_of_a_backbone_can_be_told_apart_in_the_choice(page, width):
    page.resize(width, 900, mobile=width < 500)
    spare = page.evaluate("""(() => {
      const choice = document.querySelector("#first-layer");
      const style = getComputedStyle(choice);
      const context = document.createElement("canvas").getContext("2d");
      context.font = `${style.fontSize} ${style.fontFamily}`;
      const arrow = 24;
      return choice.clientWidth - arrow - context.measureText("backbone.stages.0.10.context").width;
    })()""")
    assert spare > 0
    change(page, "#first-layer", "head.context")
    assert page.evaluate("document.querySelector('#first-layer').title") == "head.context"
    change(page, "#first-layer", "")


def test_a_legend_has_colours_of_what_is_over_the_photo_alone_and_no_live_regions(page):
    swatches, outputs = page.evaluate("""(async () => {
      const { fillLegend } = await import("./legends.js");
      const part = { name: "cat", value: 0.5, color: [1, 2, 3], region: 0 };
      const legends = [part, { ...part, box: [0, 0, 1, 1] }].map((shown) => {
        const legend = document.createElement("div");
        fillLegend(legend, { network: "any", measure: "score", parts: [shown] });
        return legend;
      });
      return ["i", "output"].map((tag) => legends.map((x) => x.querySelectorAll(tag).length));
    })()""")
    assert swatches == [0, 1]  # a class of the whole image, and an object
    assert outputs == [0, 0]


def test_boxes_are_drawn_where_they_are_and_read_within(page):
    pixels, texts = page.evaluate("""(async () => {
      const { ResultLayer } = await import("./layers.js");
      const part = { name: "cat", value: 0.5, color: [9, 200, 30], region: 1 };
      const parts = [{ ...part, box: [0.25, 0.2, 0.75, 0.8] }];
      const layer = new ResultLayer("any", { layer: { measure: "score", parts }, result: [] });
      const shown = document.createElement("canvas").getContext("2d");
      layer.draw(shown, 300, 150, 1);
      const at = (x, y) => [...shown.getImageData(x, y, 1, 1).data];
      const texts = [0.5, 0.9].map((x) => layer.at({ x, y: 0.5 }).text);
      return [[at(75, 75), at(224, 75), at(150, 30), at(150, 119), at(150, 75), at(20, 75)], texts];
    })()""")
    assert pixels == [[9, 200, 30, 255]] * 4 + [[0, 0, 0, 0]] * 2
    assert texts == ["cat, 50.0%", "nothing here"]


def test_a_map_lies_on_its_window_bright_where_most_is_gathered(page):
    colours, ends, texts = page.evaluate("""(async () => {
      const { AttentionLayer } = await import("./layers.js");
      const { fillLegend } = await import("./legends.js");
      const [photo, shown] = [0, 1].map(() => document.createElement("canvas").getContext("2d"));
      const map = { width: 2, height: 1, weights: [0.5, 1.5], window: [0.5, 0, 1, 1] };
      const layer = new AttentionLayer("any", { block: "head", ...map });
      layer.draw(shown, 300, 150, 1, photo.canvas);
      const legend = document.createElement("div");
      fillLegend(legend, layer);
      const bar = legend.querySelector(".bar").style.background.match(/rgb\\(.*?\\)/g);
      const ends = [...legend.querySelectorAll(".ends span")].map((x) => x.textContent);
      const at = (x) => [...shown.getImageData(x, 75, 1, 1).data].slice(0, 3);
      const texts = [0.2, 0.6, 0.9].map((x) => layer.at({ x, y: 0.5 }).text);
      return [[at(20), at(155), at(295)], [bar[0], bar.at(-1), ...ends], texts];
    })()""")
    assert colours[0] not in colours[1:]  # the photo's, which nothing covers there
    np.testing.assert_allclose(colours[1:], [[13, 8, 135], [240, 249, 33]], atol=12)
    assert ends == ["rgb(13, 8, 135)", "rgb(240, 249, 33)", "0.5 x the mean", "1.5 x"]
    assert texts == ["not seen by the network", *(f"attention {x} x the mean" for x in (0.5, 1.5))]


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
