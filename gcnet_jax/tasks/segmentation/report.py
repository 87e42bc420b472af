"""The report of an evaluation: one HTML file that shows all of it, and needs nothing else."""

from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from gcnet_jax.data.picture_table import encoded, fitted
from gcnet_jax.tasks.report_sections import bar, repeat_section, swatch, training_section
from gcnet_jax.tasks.segmentation.config import BEST_METRIC
from gcnet_jax.tasks.segmentation.data import DatasetClasses, colorize, label_overlay
from gcnet_jax.tasks.segmentation.data.pictures import IGNORED_COLOR
from gcnet_jax.tasks.segmentation.data.sample_picture import Label
from gcnet_jax.tasks.segmentation.report_confusion import confusion_section
from gcnet_jax.tasks.segmentation.shown_images import ShownImage, ShownImages
from gcnet_jax.tasks.segmentation.split_evaluation import Evaluation
from gcnet_jax.training.html import (
    Html,
    element,
    joined,
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
        "training": ("Training", training_section(evaluation, BEST_METRIC)),
        "examples": ("Examples", _examples(evaluation, shown)),
        "worst": ("Worst images", _worst(evaluation, shown)),
        "repeat": ("How to repeat it", repeat_section(evaluation, config, command)),
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
        named = element("th", swatch(classes.palette[i]), f"{i} {name}", scope="row")
        values = [element("td", _percent(column[i])) for column in columns.values()]
        rows.append(element("tr", named, bar(metrics.iou[i]), *values))
    return scrolled(element("table", *rows, class_="figures"))


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
        element("span", swatch(classes.palette[i]), classes.names[i])
        for i in sorted(seen)
        if i < classes.num_classes
    ]
    if max(seen) >= classes.num_classes:
        legend.append(element("span", swatch(IGNORED_COLOR), "(ignored)"))
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
