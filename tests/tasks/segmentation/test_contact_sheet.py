"""A page that shows all results of a prediction."""

import os
import re
import urllib.parse

import numpy as np
import pytest

from gcnet_jax.data import DatasetClasses
from gcnet_jax.errors import InputError
from gcnet_jax.tasks.segmentation.contact_sheet import (
    SheetEntry,
    check_sheet,
    contact_sheet,
    preview,
)
from gcnet_jax.tasks.segmentation.result import SegmentationResult

CLASSES = DatasetClasses(("road", "<b>sky"), ((128, 64, 128), (70, 130, 180)))


def sheet(name, *errors):
    label = np.zeros((30, 700), np.uint8)
    label[:3] = 1
    result = SegmentationResult(np.zeros((30, 700, 3), np.uint8), label, CLASSES, lambda _: None)
    files = {"overlay": f"{name}_overlay.png", "label": f"{name}_label.png"}
    entry = SheetEntry(name, files, preview(result), result.shares)
    palette = dict(zip(CLASSES.names, CLASSES.palette, strict=True))
    return contact_sheet([entry], errors, palette, source="a <run>")


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
    page = sheet(name)
    links = re.findall(r'href="([^"]*)"', page)
    assert len(links) == 3
    assert all(link.startswith("./") for link in links)
    found = {os.fsdecode(urllib.parse.unquote_to_bytes(link[2:])) for link in links}
    assert found == {f"{name}_overlay.png", f"{name}_label.png"}
    page.encode()


def test_text_from_outside_is_text_on_the_page():
    page = sheet("<script>", "cut<script>.jpg: not whole")
    assert "<script" not in page
    assert "cut&lt;script&gt;.jpg: not whole" in page
    assert "a &lt;run&gt;" in page
    assert "&lt;b&gt;sky 10%" in page


def test_a_page_of_another_kind_is_not_replaced(tmp_path):
    check_sheet(tmp_path, overwrite=False)
    (tmp_path / "index.html").write_text(sheet("x"))
    check_sheet(tmp_path, overwrite=False)
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(InputError, match="no prediction wrote it"):
        check_sheet(tmp_path, overwrite=False)
    check_sheet(tmp_path, overwrite=True)
