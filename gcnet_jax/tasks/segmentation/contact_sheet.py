"""The contact sheet of a prediction: a page with a small picture of every result."""

import importlib.resources
import os
import string
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from etils import epath
from PIL import Image

from gcnet_jax.data.picture_table import encoded, fitted
from gcnet_jax.errors import InputError
from gcnet_jax.tasks.segmentation.report_html import Html, element, joined, picture
from gcnet_jax.tasks.segmentation.result import SegmentationResult, as_percent

SHEET = "index.html"
_CELL = 320  # pixels: the greatest width and height of a picture
_MARK = '<section id="predictions">'
_CLASSES_SHOWN = 4


class SheetEntry(NamedTuple):
    """One image on the sheet.

    Attributes:
        name: of the image, as its results have it.
        files: of its results, what each is by its path from the sheet's folder; the first is shown.
        preview: of it, a JPEG.
        shares: the share of the image that each class covers, the largest first.
    """

    name: str
    files: Mapping[str, str]
    preview: bytes
    shares: Mapping[str, float]


def preview(result: SegmentationResult) -> bytes:
    """A small picture of a result, as a JPEG."""
    overlay = np.asarray(result.picture())
    height, width = overlay.shape[:2]
    small = fitted(overlay, min(_CELL, max(height, width)))
    return encoded(Image.fromarray(small), "JPEG")


def contact_sheet(
    entries: Sequence[SheetEntry],
    errors: Sequence[str],
    palette: Mapping[str, tuple[int, int, int]],
    *,
    source: str,
) -> str:
    """The HTML of a sheet, which needs nothing but the files that it links.

    Args:
        entries: the images, in the order to show.
        errors: says of each image that could not be read why.
        palette: the RGB colour of each class.
        source: the weights that the results are from.
    """
    seen = {name for entry in entries for name in entry.shares}
    legend = [
        element("span", _swatch(color), name) for name, color in palette.items() if name in seen
    ]
    body = [
        Html(_MARK),
        element("p", *legend, class_="legend"),
        element("div", *(_figure(entry, palette) for entry in entries), class_="sheet"),
        Html("</section>"),
    ]
    if errors:
        listed = [element("p", error) for error in errors]
        title = element("h2", "Not segmented")
        body.append(element("section", title, *listed, id="errors"))
    file = importlib.resources.files("gcnet_jax.tasks.segmentation") / "report.html"
    return string.Template(file.read_text("utf-8")).substitute(
        title="Predictions",
        subtitle=joined([f"{len(entries)} images, segmented with {source}"]),
        links="",
        body=joined(body),
    )


def check_sheet(folder: epath.Path, *, overwrite: bool) -> None:
    """Raises InputError where a sheet would replace a page that is none."""
    page = folder / SHEET
    if overwrite or not page.exists():
        return
    if page.is_dir() or _MARK.encode() not in page.read_bytes():
        raise InputError(
            f"{page} is there already, and no prediction wrote it; give another --output_dir, or "
            "--overwrite to replace it"
        )


def _figure(entry: SheetEntry, palette: Mapping[str, tuple[int, int, int]]) -> Html:
    links = [element("a", what, href=_address(file)) for what, file in entry.files.items()]
    shown = element(
        "a",
        picture(entry.preview, "jpeg", alt=f"classes over {entry.name}"),
        href=_address(next(iter(entry.files.values()))),
    )
    largest = [
        element("span", _swatch(palette[name]), f"{name} {as_percent(share)}")
        for name, share in list(entry.shares.items())[:_CLASSES_SHOWN]
    ]
    caption = element("figcaption", element("strong", entry.name), " ", _spaced(links))
    return element("figure", shown, caption, element("p", *largest, class_="legend"))


def _spaced(content: Sequence[Html]) -> Html:
    return Html(" · ".join(content))


def _swatch(color: Sequence[int]) -> Html:
    return element("i", class_="swatch", style=f"background:rgb({','.join(map(str, color))})")


def _address(file: str) -> str:
    """The relative address of a file, whatever characters its name has."""
    return "./" + urllib.parse.quote(os.fsencode(file))
