"""The contact sheet of predictions: a page with a small picture of every result in a folder.

The page is its own record: what it says of each result is in it as data too, so that a later
prediction into the same folder adds to it.
"""

import base64
import html.parser
import importlib.resources
import json
import os
import string
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from etils import epath
from PIL import Image

from gcnet_jax.data.picture_table import encoded, fitted
from gcnet_jax.errors import InputError
from gcnet_jax.files import read_regular, write_whole
from gcnet_jax.tasks.predictions import as_percent
from gcnet_jax.training.html import Html, element, joined, picture

SHEET = "index.html"
_CELL = 320  # pixels: the greatest width and height of a picture
_MARK = '<section id="predictions">'
_RECORD = "data-result"
_JPEG, _STARTS_JPEG = "data:image/jpeg;base64,", b"\xff\xd8"
_CLASSES_SHOWN = 4
_ADVICE = "give another --output_dir, or --overwrite to replace it"


class ClassShare(NamedTuple):
    """The share of a class in an image, from 0 to 1, and the RGB colour that stands for it."""

    name: str
    share: float
    color: tuple[int, int, int]


class SheetEntry(NamedTuple):
    """One image or video on the sheet.

    Attributes:
        name: of the image, as its results have it.
        files: of its results, what each is by its path from the sheet's folder; the first is shown,
            and is what tells entries apart.
        preview: of it, a JPEG.
        classes: that are found, the largest share first.
        source: the weights that the results are from.
        note: what else to say of it.
    """

    name: str
    files: Mapping[str, str]
    preview: bytes
    classes: Sequence[ClassShare]
    source: str
    note: str = ""

    @property
    def first(self) -> str:
        """The path of the first result from the sheet's folder."""
        return next(iter(self.files.values()))


def sheet_entry(
    name: str,
    files: Mapping[str, str],
    picture: Image.Image,
    classes: Sequence[ClassShare],
    *,
    source: str,
    note: str = "",
) -> SheetEntry:
    """The entry of a result, with a small picture of it; see `SheetEntry`."""
    pixels = np.asarray(picture)
    small = fitted(pixels, min(_CELL, max(pixels.shape[:2])))
    preview = encoded(Image.fromarray(small), "JPEG")
    return SheetEntry(name, files, preview, classes, source, note)


def contact_sheet(entries: Sequence[SheetEntry], errors: Sequence[str]) -> str:
    """The HTML of a sheet, which needs nothing but the files that it links.

    Args:
        entries: the images, in the order to show.
        errors: says of each image that could not be read why.
    """
    seen = {(found.name, found.color): None for entry in entries for found in entry.classes}
    sources = list(dict.fromkeys(entry.source for entry in entries))
    legend = [element("span", _swatch(color), name) for name, color in seen]
    figures = (_figure(entry, with_source=len(sources) > 1) for entry in entries)
    body = [
        Html(_MARK),
        element("p", *legend, class_="legend"),
        element("div", *figures, class_="sheet"),
        Html("</section>"),
    ]
    if errors:
        listed = [element("p", error) for error in errors]
        title = element("h2", "Left out")
        body.append(element("section", title, *listed, id="errors"))
    count = "1 result" if len(entries) == 1 else f"{len(entries)} results"
    file = importlib.resources.files("gcnet_jax.training") / "page.html"
    return string.Template(file.read_text("utf-8")).substitute(
        title="Predictions",
        subtitle=joined([f"{count}, predicted with {'; '.join(sources)}" if sources else count]),
        links="",
        body=joined(body),
    )


def add_to_sheet(
    folder: epath.Path, entries: Sequence[SheetEntry], errors: Sequence[str], *, overwrite: bool
) -> None:
    """Writes a folder's sheet: the results that it shows already, and these behind them.

    Args:
        folder: of the results.
        entries: to add, each in place of the earlier one that has the same first file.
        errors: says of each image that could not be read why; earlier ones are left out.
        overwrite: whether a page that is no sheet, or cannot be read, is replaced.

    Raises:
        InputError: there is such a page, or the sheet cannot be written.
    """
    try:
        earlier = read_sheet(folder)
    except InputError:
        if not overwrite:
            raise
        earlier = []
    merged = {entry.first: entry for entry in (*earlier, *entries)}
    write_whole(folder / SHEET, contact_sheet(list(merged.values()), errors))


def check_sheet(folder: epath.Path, *, overwrite: bool) -> None:
    """Raises InputError where a sheet would replace a page that is none, or is damaged."""
    if not overwrite:
        read_sheet(folder)


def read_sheet(folder: epath.Path) -> list[SheetEntry]:
    """What the sheet of a folder shows, without the results that are there no more.

    Raises:
        InputError: its page is not a sheet, or damaged.
    """
    page = folder / SHEET
    if not page.exists():
        return []
    content = b"" if page.is_dir() else read_regular(page)
    if _MARK.encode() not in content:
        raise InputError(f"{page} is there already, and no prediction wrote it; {_ADVICE}")
    reader = _SheetReader()
    try:
        reader.feed(content.decode())
        reader.close()
        entries = list(reader.entries())
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{page} is damaged, so that results cannot be added to it; {_ADVICE}"
        ) from error
    parents = {str(PurePosixPath(entry.first).parent) for entry in entries}
    there = {
        parent: {path.name for path in (folder / parent).iterdir()}
        for parent in parents
        if (folder / parent).is_dir()
    }
    firsts = [PurePosixPath(entry.first) for entry in entries]
    return [
        entry
        for entry, first in zip(entries, firsts, strict=True)
        if first.name in there.get(str(first.parent), ())
    ]


class _SheetReader(html.parser.HTMLParser):
    """Finds the records of a page, and the picture that follows each."""

    def __init__(self) -> None:
        super().__init__()
        self._records: list[tuple[str, list[str]]] = []
        self._is_whole = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "figure":
            self._records.append((values.get(_RECORD) or "", []))
        elif tag == "img" and self._records:
            self._records[-1][1].append(values.get("src") or "")

    def handle_endtag(self, tag: str) -> None:
        self._is_whole = self._is_whole or tag == "html"

    def entries(self) -> Iterator[SheetEntry]:
        """Yields what the page shows.

        Raises:
            ValueError: it ends early, or a record is not what `_record` makes.
        """
        if not self._is_whole:
            raise ValueError("the page ends early")
        for record, pictures in self._records:
            if len(pictures) != 1 or not pictures[0].startswith(_JPEG):
                raise ValueError("a result without its picture")
            preview = base64.b64decode(pictures[0].removeprefix(_JPEG), validate=True)
            if not preview.startswith(_STARTS_JPEG):
                raise ValueError("a picture that is no JPEG")
            yield _from_record(json.loads(record), preview)


def _record(entry: SheetEntry) -> str:
    """All of an entry but its picture, as JSON in ASCII."""
    said = {**entry._asdict(), "files": dict(entry.files)}
    del said["preview"]
    return json.dumps(said)


def _from_record(said: Any, preview: bytes) -> SheetEntry:
    match said:
        case {
            "name": str(name),
            "files": dict(files),
            "classes": list(classes),
            "source": str(source),
            "note": str(note),
        } if files and all(map(_is_inside, files.values())):
            shares = [_class_share(found) for found in classes]
            return SheetEntry(name, files, preview, shares, source, note)
    raise ValueError("not the record of a result")


def _class_share(said: Any) -> ClassShare:
    match said:
        case [str(name), float(share), [int(red), int(green), int(blue)]]:
            return ClassShare(name, share, (red, green, blue))
    raise ValueError("not the share of a class")


def _is_inside(file: Any) -> bool:
    """Whether it is a path that leads nowhere but into the sheet's folder."""
    if not isinstance(file, str) or b"\0" in os.fsencode(file):
        return False
    path = PurePosixPath(file)
    return bool(path.name) and not path.is_absolute() and ".." not in path.parts


def _figure(entry: SheetEntry, *, with_source: bool) -> Html:
    links = [element("a", what, href=_address(file)) for what, file in entry.files.items()]
    shown = element(
        "a",
        picture(entry.preview, "jpeg", alt=f"classes over {entry.name}"),
        href=_address(entry.first),
    )
    largest = [
        element("span", _swatch(found.color), f"{found.name} {as_percent(found.share)}")
        for found in entry.classes[:_CLASSES_SHOWN]
    ]
    said = [entry.note, entry.source if with_source else ""]
    notes = [element("span", text) for text in said if text]
    caption = element("figcaption", element("strong", entry.name), " ", _spaced([*links, *notes]))
    below = element("p", *largest, class_="legend")
    return element("figure", shown, caption, below, **{_RECORD: _record(entry)})


def _spaced(content: Sequence[Html]) -> Html:
    return Html(" · ".join(content))


def _swatch(color: Sequence[int]) -> Html:
    return element("i", class_="swatch", style=f"background:rgb({','.join(map(str, color))})")


def _address(file: str) -> str:
    """The relative address of a file, whatever characters its name has."""
    return "./" + urllib.parse.quote(os.fsencode(file))
