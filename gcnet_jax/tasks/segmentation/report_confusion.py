"""The confusion matrix of a report: which classes are taken for which."""

import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from gcnet_jax.training.html import Html, element, joined, picture, scrolled

_MOST_IN_TABLE = 24  # classes; of more than these one sees the pattern, not the numbers
_PAIRS = 10
_SHADE = (31, 111, 235)  # RGB
_DARK = 0.8  # share from which a cell's text is white

Confusion = Int[np.ndarray, "classes classes"]


def confusion_section(confusion: Confusion, names: Sequence[str]) -> Html:
    """The matrix, each row in shares of the pixels labelled so, and the pairs confused most.

    Args:
        confusion: pixel counts by (label, prediction).
        names: of the classes.
    """
    shares = _shares(confusion)
    draw = _table if len(names) <= _MOST_IN_TABLE else _image
    return joined([draw(shares, names), _pairs(confusion, shares, names)])


def _shares(confusion: Confusion) -> Float[np.ndarray, "classes classes"]:
    """Each row divided by its sum; NaN in rows of classes that no pixel has."""
    with np.errstate(invalid="ignore"):
        return confusion / confusion.sum(1, keepdims=True)


def _table(shares: Float[np.ndarray, "classes classes"], names: Sequence[str]) -> Html:
    heads = [element("th", element("span", name), scope="col") for name in names]
    rows = [element("tr", element("th", "label \\ prediction", class_="corner"), *heads)]
    for name, row in zip(names, shares, strict=True):
        rows.append(element("tr", element("th", name, scope="row"), *map(_cell, row)))
    explained = "Percent of the pixels of each label (row) that are predicted as each class."
    table = scrolled(element("table", *rows, class_="confusion"))
    return joined([element("p", explained, class_="note"), table])


def _cell(share: float) -> Html:
    if np.isnan(share):
        return element("td", "–")
    text = f"{100 * share:.0f}" if share >= 0.005 else ""
    color = ";color:#fff" if share > _DARK else ""
    shade = ",".join(map(str, _SHADE))
    style = f"background:rgba({shade},{share:.3f}){color}"
    return element("td", text, style=style, title=f"{100 * share:.2f}%")


def _image(shares: Float[np.ndarray, "classes classes"], names: Sequence[str]) -> Html:
    """One pixel a cell, from transparent to the shade, so that it is seen on any ground."""
    count = len(names)
    pixels = np.empty((count, count, 4), np.uint8)
    pixels[..., :3] = _SHADE
    # The square root: what is mistaken is seldom more than a few percent.
    pixels[..., 3] = np.round(255 * np.sqrt(np.nan_to_num(shares)))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    explained = (
        f"Row: label; column: prediction; classes 0 to {count - 1} from the top left. The more "
        "blue, the larger the share of the label's pixels; its square root, so that small ones "
        "are seen."
    )
    image = picture(buffer.getvalue(), "png", alt="confusion matrix", class_="matrix")
    return joined([element("p", explained, class_="note"), image])


def _pairs(
    confusion: Confusion, shares: Float[np.ndarray, "classes classes"], names: Sequence[str]
) -> Html:
    mistakes = confusion - np.diag(np.diag(confusion))
    total = mistakes.sum()
    if not total:
        return element("p", "No pixel is predicted wrong.")
    heads = ("label", "taken for", "of the label's pixels", "of all mistakes")
    rows = [element("tr", *(element("th", head, scope="col") for head in heads))]
    for cell in np.argsort(-mistakes, axis=None, kind="stable")[:_PAIRS]:
        label, predicted = divmod(int(cell), len(names))
        if not mistakes[label, predicted]:
            break
        values = (shares[label, predicted], mistakes[label, predicted] / total)
        rows.append(
            element(
                "tr",
                element("th", names[label], scope="row"),
                element("td", names[predicted], class_="text"),
                *(element("td", f"{100 * value:.1f}%") for value in values),
            )
        )
    title = element("h3", "Confused most")
    return joined([title, scrolled(element("table", *rows, class_="figures"))])
