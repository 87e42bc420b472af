"""The report of an evaluation: one HTML file that shows all of it, and needs nothing else."""

from collections.abc import Sequence

from ml_collections import ConfigDict
from PIL import Image

from gcnet_jax.data.picture_table import encoded
from gcnet_jax.tasks.detection.classes import ObjectClasses
from gcnet_jax.tasks.detection.config import BEST_METRIC
from gcnet_jax.tasks.detection.evaluation.precision_recall_picture import (
    precision_recall_for_page,
)
from gcnet_jax.tasks.detection.found_objects_picture import SHOWN_FROM
from gcnet_jax.tasks.detection.shown_images import ShownImage, ShownImages
from gcnet_jax.tasks.detection.split_evaluation import BY_CLASS, Evaluation, as_percent
from gcnet_jax.tasks.report_sections import bar, repeat_section, training_section
from gcnet_jax.training.html import Html, element, joined, page, picture, scrolled

_CELL = 640  # pixels: the greatest width and height of a picture
_MEANINGS = {
    "AP": "average precision, mean over overlaps from 0.5 to 0.95",
    "AP50": "of overlaps from 0.5",
    "AP75": "of overlaps from 0.75",
    "APs": "of objects below 32x32 pixels",
    "APm": "of objects up to 96x96 pixels",
    "APl": "of larger objects",
}


def report_page(
    evaluation: Evaluation, shown: ShownImages, config: ConfigDict, *, command: str
) -> str:
    """The HTML of a report, which no other file and no network is needed for.

    Args:
        evaluation: what came out.
        shown: has looked on while it went.
        config: of the evaluation.
        command: with which it can be repeated.
    """
    sections = {
        "summary": ("Summary", _summary(evaluation)),
        "classes": ("Classes", _classes(evaluation)),
        "curves": ("Precision by recall", _curves(evaluation)),
        "training": ("Training", training_section(evaluation, BEST_METRIC)),
        "examples": ("Examples", _examples(evaluation, shown)),
        "worst": ("Worst images", _worst(evaluation, shown)),
        "repeat": ("How to repeat it", repeat_section(evaluation, config, command)),
    }
    title = f"{evaluation.dataset} {evaluation.split}"
    return page(title, f"{evaluation.images} images, {evaluation.inference}", sections)


def _summary(evaluation: Evaluation) -> Html:
    rows = []
    for kind, found in evaluation.precision.items():
        tiles = [
            element(
                "div",
                element("strong", as_percent(value)),
                element("span", f"{kind} {name}"),
                element("small", _MEANINGS[name]),
            )
            for name, value in found.precisions.items()
        ]
        rows.append(element("div", *tiles, class_="tiles"))
    note = (
        f"In percent, as COCO has it, over {evaluation.objects.sum()} objects. A dash: no object "
        "is annotated that it could be of."
    )
    return joined([*rows, element("p", note, class_="note")])


def _classes(evaluation: Evaluation) -> Html:
    kinds = list(evaluation.precision)
    heads = ("class", *(f"{kind} {x}" for kind in kinds for x in BY_CLASS), "objects")
    rows = [element("tr", *(element("th", head, scope="col") for head in heads))]
    for index in evaluation.lowest_first():
        values = [evaluation.precision[kind].by_class[x][index] for kind in kinds for x in BY_CLASS]
        others = [element("td", as_percent(value)) for value in values[1:]]
        name = element("th", f"{index} {evaluation.classes.names[index]}", scope="row")
        number = element("td", str(evaluation.objects[index]))
        rows.append(element("tr", name, bar(values[0], digits=1), *others, number))
    return scrolled(element("table", *rows, class_="figures"))


def _curves(evaluation: Evaluation) -> Html:
    charts = precision_recall_for_page(evaluation.precision, evaluation.classes.names)
    shown = [
        picture(chart, "svg+xml", alt=f"precision by recall of {kind}", class_="chart")
        for kind, chart in charts.items()
    ]
    return element("div", *shown, class_="charts")


def _examples(evaluation: Evaluation, shown: ShownImages) -> Html:
    images = shown.spread()
    if not images:
        return Html()
    of = f"{len(images)} from all over the {_available(evaluation, shown)}. {_DRAWN}"
    return joined([element("p", of, class_="note"), *_figures(images, evaluation.classes)])


def _worst(evaluation: Evaluation, shown: ShownImages) -> Html:
    images = shown.worst()
    if not images:
        return Html()
    of = (
        "Those where the smallest share of objects and boxes belong together (F1, for overlaps of "
        f"boxes from 0.5), of the {_available(evaluation, shown)}. {_DRAWN}"
    )
    return joined([element("p", of, class_="note"), *_figures(images, evaluation.classes)])


_DRAWN = f"Drawn and counted is what has a score from {SHOWN_FROM}."


def _available(evaluation: Evaluation, shown: ShownImages) -> str:
    if shown.available == evaluation.images:
        return f"{evaluation.images} images"
    return (
        f"{shown.available} images that the process which wrote this page has evaluated; others "
        f"evaluated the rest of {evaluation.images}"
    )


def _figures(images: Sequence[ShownImage], classes: ObjectClasses) -> list[Html]:
    return [_figure(image, classes) for image in images]


def _figure(shown: ShownImage, classes: ObjectClasses) -> Html:
    cells = [
        element(
            "div",
            picture(_jpeg(drawn), "jpeg", alt=f"{title} in {shown.name}"),
            element("small", title),
        )
        for title, drawn in shown.pictures(classes, _CELL).items()
    ]
    found, missed, wrong = shown.score
    said = f" {found} found, {missed} missed, {wrong} wrong"
    caption = element("figcaption", element("strong", shown.name), said)
    beside = element("div", *cells, class_="pictures", style="grid-template-columns:1fr 1fr")
    return element("figure", caption, beside)


def _jpeg(drawn: Image.Image) -> bytes:
    return encoded(drawn, "JPEG")
