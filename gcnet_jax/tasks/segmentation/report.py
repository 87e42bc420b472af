"""The report of an evaluation: one HTML file that shows all of it, and needs nothing else."""

import contextlib
import datetime
import json
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from gcnet_jax.config import differences, to_plain, versions
from gcnet_jax.data.picture_table import encoded, fitted
from gcnet_jax.errors import InputError
from gcnet_jax.tasks.configs import from_plain
from gcnet_jax.tasks.segmentation.config import BEST_METRIC
from gcnet_jax.tasks.segmentation.data import DatasetClasses, colorize, label_overlay
from gcnet_jax.tasks.segmentation.data.pictures import IGNORED_COLOR
from gcnet_jax.tasks.segmentation.data.sample_picture import Label
from gcnet_jax.tasks.segmentation.report_confusion import confusion_section
from gcnet_jax.tasks.segmentation.shown_images import ShownImage, ShownImages
from gcnet_jax.tasks.segmentation.split_evaluation import Evaluation
from gcnet_jax.training import read_metadata, read_rows
from gcnet_jax.training.curves import Curve, curves_for_page
from gcnet_jax.training.html import (
    Html,
    element,
    joined,
    lines,
    page,
    picture,
    scrolled,
)

_CELL = 480  # pixels: the greatest width and height of a picture


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
        "confusion": (
            "Confusion",
            confusion_section(evaluation.confusion, evaluation.classes.names),
        ),
        "training": ("Training", _training(evaluation)),
        "examples": ("Examples", _examples(evaluation, shown)),
        "worst": ("Worst images", _worst(evaluation, shown)),
        "repeat": ("How to repeat it", _repeat(evaluation, config, command)),
    }
    title = f"{evaluation.dataset} {evaluation.split}"
    return page(title, f"{evaluation.images} images, {evaluation.inference}", sections)


def _percent(value: float, digits: int = 2) -> str:
    return "–" if np.isnan(value) else f"{100 * value:.{digits}f}"


def _summary(evaluation: Evaluation) -> Html:
    meanings = {
        "mIoU": "intersection over union",
        "aAcc": "of all labelled pixels are right",
        "mAcc": "of a class's pixels are found",
        "mDice": "Dice",
        "mFscore": "F-score",
    }
    over = evaluation.metrics.to_plain(evaluation.classes.names)["means_over"]
    for name, number in over.items():
        meanings[name] += f", mean over {number['classes']} of {number['of']} classes"
    tiles = [
        element(
            "div",
            element("strong", _percent(evaluation.summary[name])),
            element("span", name),
            element("small", meaning),
        )
        for name, meaning in meanings.items()
    ]
    note = "All in percent. A class that neither occurs nor is predicted is in no mean."
    return joined([element("div", *tiles, class_="tiles"), element("p", note, class_="note")])


def _classes(evaluation: Evaluation) -> Html:
    metrics, classes = evaluation.metrics, evaluation.classes
    columns = {
        "Acc": metrics.recall,
        "Precision": metrics.precision,
        "Dice": metrics.dice,
        "Fscore": metrics.f_score,
        "of the pixels": evaluation.confusion.sum(1) / evaluation.confusion.sum(),
    }
    heads = ("class", "IoU", *columns)
    rows = [element("tr", *(element("th", head, scope="col") for head in heads))]
    for i, name in enumerate(classes.names):
        named = element("th", _swatch(classes.palette[i]), f"{i} {name}", scope="row")
        values = [element("td", _percent(column[i])) for column in columns.values()]
        rows.append(element("tr", named, _bar(metrics.iou[i]), *values))
    return scrolled(element("table", *rows, class_="figures"))


def _bar(value: float) -> Html:
    width = 0.0 if np.isnan(value) else 100 * value
    bar = element("i", style=f"width:{width:.1f}%")
    return element("td", element("b", bar), element("span", _percent(value)), class_="bar")


def _swatch(color: Sequence[int]) -> Html:
    return element("i", class_="swatch", style=f"background:rgb({','.join(map(str, color))})")


def _training(evaluation: Evaluation) -> Html:
    """The curves of the run that the checkpoint lies in; nothing of any other checkpoint."""
    step = evaluation.checkpoint
    assert step is not None
    workdir = step.parent.parent
    rows = read_rows(workdir) if step.parent.name == "checkpoints" else []
    if not rows:
        return Html()
    names = ("training loss by step", f"held-out {BEST_METRIC} by step")
    charts = [
        picture(chart, "svg+xml", alt=alt, class_="chart")
        for alt, chart in zip(
            names, curves_for_page(Curve(workdir.name, rows, BEST_METRIC)), strict=True
        )
    ]
    note = f"The figures of this page are of step {step.name}."
    return joined([element("p", note, class_="note"), element("div", *charts, class_="charts")])


def _examples(evaluation: Evaluation, shown: ShownImages) -> Html:
    images = shown.spread()
    if not images:
        return Html()
    of = f"{len(images)} from all over the {_available(evaluation, shown)}."
    return joined([element("p", of, class_="note"), _gallery(images, evaluation.classes)])


def _worst(evaluation: Evaluation, shown: ShownImages) -> Html:
    images = shown.worst()
    if not images:
        return Html()
    of = (
        f"Those of the lowest IoU, mean over the classes that the label has, of the "
        f"{_available(evaluation, shown)}."
    )
    return joined([element("p", of, class_="note"), _gallery(images, evaluation.classes)])


def _available(evaluation: Evaluation, shown: ShownImages) -> str:
    if shown.available == evaluation.images:
        return f"{evaluation.images} images"
    return (
        f"{shown.available} images that the process which wrote this page has evaluated; others "
        f"evaluated the rest of {evaluation.images}"
    )


def _gallery(images: Sequence[ShownImage], classes: DatasetClasses) -> Html:
    seen = {
        int(value)
        for x in images
        for label in (x.label, x.prediction)
        for value in np.unique(label)
    }
    legend = [
        element("span", _swatch(classes.palette[i]), classes.names[i])
        for i in sorted(seen)
        if i < classes.num_classes
    ]
    if max(seen) >= classes.num_classes:
        legend.append(element("span", _swatch(IGNORED_COLOR), "(ignored)"))
    figures = [_figure(image, classes) for image in images]
    return joined([element("p", *legend, class_="legend"), *figures])


def _figure(shown: ShownImage, classes: DatasetClasses) -> Html:
    image, label, prediction = (
        fitted(pixels, _CELL) for pixels in (shown.image, shown.label, shown.prediction)
    )
    overlay = label_overlay(image, prediction, classes.palette)
    pictures = {
        "image": picture(_jpeg(image), "jpeg", alt=f"image {shown.name}"),
        "label": picture(_png(label, classes), "png", alt=f"label of {shown.name}"),
        "prediction": picture(_png(prediction, classes), "png", alt=f"prediction of {shown.name}"),
        "prediction over image": picture(_jpeg(overlay), "jpeg", alt=f"both of {shown.name}"),
    }
    cells = [element("div", image, element("small", title)) for title, image in pictures.items()]
    caption = element("figcaption", element("strong", shown.name), _scored(shown, classes.names))
    return element("figure", caption, element("div", *cells, class_="pictures"))


def _scored(shown: ShownImage, names: Sequence[str]) -> str:
    if shown.score is None:
        return " no pixel has a label"
    iou, accuracy = (_percent(value, 1) for value in shown.score)
    return f" IoU {iou}, {accuracy}% of the pixels right{_largest_mistake(shown, names)}"


def _largest_mistake(shown: ShownImage, names: Sequence[str]) -> str:
    labelled = shown.label < len(names)
    wrong = labelled & (shown.label != shown.prediction)
    if not wrong.any():
        return ""
    pairs = shown.label[wrong].astype(np.int64) * len(names) + shown.prediction[wrong]
    counts = np.bincount(pairs)
    label, predicted = divmod(int(counts.argmax()), len(names))
    share = _percent(counts.max() / labelled.sum(), 1)
    return f"; {share}% are {names[label]} taken for {names[predicted]}"


def _jpeg(image: np.ndarray) -> bytes:
    return encoded(Image.fromarray(image), "JPEG")


def _png(label: Label, classes: DatasetClasses) -> bytes:
    return encoded(Image.fromarray(colorize(label, classes.palette)), "PNG")


def _repeat(evaluation: Evaluation, config: ConfigDict, command: str) -> Html:
    plain, checkpoint = to_plain(config), evaluation.checkpoint
    assert checkpoint is not None
    trained = read_metadata(checkpoint) if checkpoint.is_dir() else {}
    facts = {
        "checkpoint": str(checkpoint),
        "versions": _listed(versions()),
        "trained with": _listed(trained.get("versions")),
        "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "written": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
    }
    facts = {name: value for name, value in facts.items() if value}
    listed = [joined([element("dt", name), element("dd", facts[name])]) for name in facts]
    return joined(
        [
            element("pre", lines(command)),
            element("dl", *listed),
            _differences(trained.get("config"), plain),
            element(
                "details",
                element("summary", "The whole config"),
                element("pre", lines(json.dumps(plain, indent=2))),
            ),
        ]
    )


def _listed(numbers: Any) -> str:
    """Versions of a checkpoint's metadata, which may hold anything."""
    if not isinstance(numbers, dict):
        return ""
    return ", ".join(f"{name} {number}" for name, number in numbers.items())


def _differences(trained: Any, evaluated: dict[str, Any]) -> Html:
    if trained is None:
        return element("p", "The weights are from a file that says no config.", class_="note")
    with contextlib.suppress(InputError):  # of another version of the library: then as it is
        trained = to_plain(from_plain(trained))  # with the defaults of keys that it has not
    changed = differences(trained, evaluated)
    if not changed:
        return element("p", "The config is that of the training.", class_="note")
    title = element("p", "The config differs from that of the training:", class_="note")
    return joined([title, element("pre", lines("\n".join(changed)))])
