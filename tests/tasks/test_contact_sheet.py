"""A page that shows all results of predictions into a folder."""

import io
import os
import re
import tempfile
import urllib.parse

import numpy as np
import pytest
from etils import epath
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from gcnet_jax.errors import InputError
from gcnet_jax.tasks.contact_sheet import (
    ClassShare,
    add_to_sheet,
    check_sheet,
    contact_sheet,
    read_sheet,
    sheet_entry,
)
from gcnet_jax.tasks.segmentation.data import DatasetClasses
from gcnet_jax.tasks.segmentation.result import SegmentationResult

CLASSES = DatasetClasses(("road", "<b>sky"), ((128, 64, 128), (70, 130, 180)))


def entry(name, size=(30, 700), source="a <run>", note=""):
    label = np.zeros(size, np.uint8)
    label[: size[0] // 10] = 1
    result = SegmentationResult(np.zeros((*size, 3), np.uint8), label, CLASSES, lambda _: None)
    files = {"overlay": f"{name}_overlay.png", "label": f"{name}_label.png"}
    shares = [
        ClassShare(k, v, CLASSES.palette[CLASSES.names.index(k)]) for k, v in result.shares.items()
    ]
    return sheet_entry(name, files, result.picture(), shares, source=source, note=note)


@pytest.fixture
def folder(tmp_path):
    """`folder(*entries)`: with the first file of each."""

    def make(*entries):
        for each in entries:
            file = tmp_path / each.first
            file.parent.mkdir(exist_ok=True)
            file.touch()
        return epath.Path(tmp_path)

    return make


@pytest.mark.parametrize(
    "name",
    [
        "plain",
        "deep/in/here",
        "#1 100%?&<i>\"'",
        "a:b",
        "javascript:alert(1)",
        os.fsdecode(b"\xe9\n"),
    ],
)
def test_links_lead_to_the_results_whatever_they_are_called(name):
    page = contact_sheet([entry(name)], [])
    links = re.findall(r'href="([^"]*)"', page)
    assert len(links) == 3
    assert all(link.startswith("./") for link in links)
    found = {os.fsdecode(urllib.parse.unquote_to_bytes(link[2:])) for link in links}
    assert found == {f"{name}_overlay.png", f"{name}_label.png"}
    page.encode()


def test_text_from_outside_is_text_on_the_page():
    page = contact_sheet(
        [entry("<script>", note="<script>alert()")], ["cut<script>.jpg: not whole"]
    )
    assert "<script" not in page
    assert "cut&lt;script&gt;.jpg: not whole" in page
    assert "a &lt;run&gt;" in page
    assert "&lt;b&gt;sky 10%" in page


def test_a_page_of_another_kind_is_not_replaced(tmp_path):
    tmp_path = epath.Path(tmp_path)
    check_sheet(tmp_path, overwrite=False)
    add_to_sheet(tmp_path, [entry("x")], [], overwrite=False)
    check_sheet(tmp_path, overwrite=False)
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(InputError, match="no prediction wrote it"):
        check_sheet(tmp_path, overwrite=False)
    check_sheet(tmp_path, overwrite=True)
    with pytest.raises(InputError, match="no prediction wrote it"):
        add_to_sheet(tmp_path, [entry("x")], [], overwrite=False)
    add_to_sheet(tmp_path, [entry("x")], [], overwrite=True)
    assert "x_overlay.png" in (tmp_path / "index.html").read_text()


def test_later_results_are_added_to_those_that_are_there_still(folder):
    first, again, gone, deep = entry("a"), entry("a", note="new"), entry("b"), entry("sub/c")
    where = folder(first, gone, deep)
    add_to_sheet(where, [first, gone, deep], ["x.jpg: cut"], overwrite=False)
    (where / gone.first).unlink()
    later = entry("d", source="another run")
    folder(later)
    add_to_sheet(where, [again, later], [], overwrite=False)
    assert read_sheet(where) == [again, deep, later]
    page = (where / "index.html").read_text()
    assert "3 results, predicted with a &lt;run&gt;; another run" in page
    assert page.count("<span>a &lt;run&gt;</span>") == 2  # of each, where they differ
    assert page.count("<span>another run</span>") == 1
    assert "x.jpg" not in page


@settings(max_examples=10, deadline=None)
@given(
    name=st.lists(st.integers(1, 255).filter(lambda x: x != ord("/")), min_size=1, max_size=40).map(
        lambda codes: os.fsdecode(bytes(codes))
    ),
    note=st.text(max_size=20),
)
@example(name="a\x7f", note="\x7f")
def test_a_page_gives_back_what_it_shows_whatever_its_text(name, note):
    with tempfile.TemporaryDirectory() as temporary:
        where, shown = epath.Path(temporary), entry(name, (8, 8), note=note)
        (where / shown.first).touch()
        add_to_sheet(where, [shown], [], overwrite=False)
        assert read_sheet(where) == [shown]


@pytest.mark.parametrize(
    "damage",
    [
        lambda page: page[: page.index("<img")],
        lambda page: page[:-10],
        lambda page: re.sub(r' data-result="[^"]*"', "", page),
        lambda page: page.replace("a_overlay.png&quot;", "../a_overlay.png&quot;"),
        lambda page: page.replace("a_label.png&quot;", "/a_label.png&quot;"),
        lambda page: page.replace("a_label.png&quot;", "a\\ud800&quot;"),
        lambda page: page.replace("a_label.png&quot;", "a\\u0000&quot;"),
        lambda page: page.replace("[128, 64, 128]", "[&quot;red;}&quot;, 64, 128]"),
        lambda page: page.replace("[[", "[" * 100_000),
        lambda page: page.replace("base64,", "base64,AAAA"),
        lambda page: page.replace("data:image/jpeg;", "https://example.org/"),
        lambda page: page.replace("&quot;note&quot;", "&quot;nose&quot;"),
        lambda page: page.replace("Predictions", "\udcff"),
    ],
)
def test_a_damaged_page_is_refused_or_replaced_as_asked(folder, damage):
    shown = entry("a")
    where = folder(shown)
    add_to_sheet(where, [shown], [], overwrite=False)
    page = where / "index.html"
    damaged = damage(page.read_text())
    assert damaged != page.read_text()
    page.write_bytes(damaged.encode(errors="surrogateescape"))
    for refused in (check_sheet, lambda *args, **kw: add_to_sheet(*args, [shown], [], **kw)):
        with pytest.raises(InputError, match=r"index\.html is damaged.* or --overwrite"):
            refused(where, overwrite=False)
    add_to_sheet(where, [shown], [], overwrite=True)
    assert read_sheet(where) == [shown]


@pytest.mark.parametrize(
    ("size", "shown"), [((5, 7), (5, 7)), ((300, 100), (300, 100)), ((900, 30), (320, 11))]
)
def test_small_pictures_are_not_blown_up(size, shown):
    with Image.open(io.BytesIO(entry("x", size).preview)) as picture:
        assert picture.size[::-1] == shown


def test_one_result_is_counted_as_one():
    page = contact_sheet([entry("x")], [])
    assert "<p>1 result, predicted with a &lt;run&gt;</p>" in page
    assert "<span>a &lt;run&gt;</span>" not in page
    assert "<p>0 results</p>" in contact_sheet([], ["x.jpg: cut"])
