"""Pictures of classification: images with their classes, and what is predicted for them."""

from typing import Any

import numpy as np
from etils import epath
from jaxtyping import UInt8
from ml_collections import ConfigDict
from PIL import Image

from gcnet_jax.data import spread_over
from gcnet_jax.data.picture_table import Row, draw_table, encoded, fitted
from gcnet_jax.files import write_whole
from gcnet_jax.parallel import InputShard, rows_here
from gcnet_jax.task import ShowPicture
from gcnet_jax.tasks.classification.config import BEST_METRIC
from gcnet_jax.tasks.classification.data import DATA_SETS, ImageClasses, decode
from gcnet_jax.tasks.classification.split_evaluation import Evaluation, Predicted
from gcnet_jax.tasks.predictions import as_percent
from gcnet_jax.training.html import Html, element, joined, page, picture, scrolled
from gcnet_jax.training.run_pictures import Draw, RunPictures

_CELL = 320  # pixels: the width of a picture, and its greatest height


class ShownExamples:
    """Picks the images that are shown of an evaluation, and keeps what is predicted for them.

    Args:
        config: of the run.
        split: of its data set.
        shard: the part of each batch that this process has.
        count: how many are taken from all over the split, and how many of the worst.
    """

    endings = (".png",)

    def __init__(self, config: ConfigDict, split: str, shard: InputShard, *, count: int):
        self._data, self._split, self._count = config.data, split, count
        size = DATA_SETS.split_size(config.data.name, config.data.data_dir, split)
        here = range(shard.index, size, shard.count)
        self._spread = spread_over(here, count)
        self._predicted: dict[int, dict[int, float]] = {}
        self._worst: list[tuple[float, int]] = []

    def look(self, batch: Any, predicted: Predicted) -> None:
        """Keeps what is predicted for the images that are shown, of a batch under way."""
        classes, probabilities = rows_here(predicted.classes), rows_here(predicted.probabilities)
        labels, indices = batch["label"].tolist(), batch["index"].tolist()
        for row, (index, label) in enumerate(zip(indices, labels, strict=True)):
            if index < 0:
                continue
            likely = dict(zip(classes[row].tolist(), probabilities[row].tolist(), strict=True))
            wrong = -next(iter(likely.values())) if classes[row][0] != label else 0.0
            if wrong:
                self._worst = sorted([*self._worst, (wrong, index)])[: self._count]
            if index in self._spread or (wrong, index) in self._worst:
                self._predicted[index] = likely
        kept = {*self._spread, *(index for _, index in self._worst)}
        self._predicted = {i: x for i, x in self._predicted.items() if i in kept}

    def rows(self, classes: ImageClasses, *, worst: bool = False) -> list[tuple[str, Any]]:
        """The title and the image of each, in order; to be called after the evaluation.

        Args:
            classes: of the data set.
            worst: whether those that are wrong and most sure of it, or those from all over.
        """
        indices = [index for _, index in self._worst] if worst else self._spread
        records = DATA_SETS.open_split(self._data.name, self._data.data_dir, self._split)
        shown = []
        for index in indices:
            sample, name = decode(records[index]), records[index]["name"].decode(errors="replace")
            likely = [*self._predicted[index].items()][:2]
            found = ", ".join(f"{classes.names[i]} {as_percent(p)}" for i, p in likely)
            title = f"{name}: {classes.names[int(sample['label'])]}; found {found}"
            shown.append((title, sample["image"]))
        return shown

    def write(
        self,
        evaluation: Evaluation,
        config: ConfigDict,
        *,
        picture: epath.Path,
        report: epath.Path,
        command: str,
    ) -> None:
        """Writes a PNG of some images with what is found, and a page with all that is known.

        Args:
            evaluation: what came of it.
            config: of the run.
            picture: the PNG.
            report: the page, one HTML file.
            command: how to repeat it.
        """
        del config
        classes = evaluation.classes
        write_whole(picture, encoded(_table(self.rows(classes)), "PNG"))
        sections = {
            "summary": ("Summary", _summary(evaluation)),
            "classes": ("Classes", _classes(evaluation)),
            "examples": ("Examples", _figures(self.rows(classes))),
            "worst": ("Most sure, and wrong", _figures(self.rows(classes, worst=True))),
            "repeat": ("How to repeat it", element("pre", command)),
        }
        title = f"{evaluation.dataset} {evaluation.split}"
        subtitle = f"{evaluation.images} images, {evaluation.inference}"
        write_whole(report, page(title, subtitle, sections))


class TrainingPictures(RunPictures):
    """Pictures of images with their classes and what is found, see `RunPictures`.

    Args:
        config: of the run.
        classes: of its data set.
        workdir: its folder.
        shard: the part of each batch that this process has.
        show: shows a picture in the run's log.
    """

    def __init__(
        self,
        config: ConfigDict,
        classes: ImageClasses,
        workdir: epath.Path,
        shard: InputShard,
        show: ShowPicture,
    ):
        count = config.training.pictures
        super().__init__(workdir, BEST_METRIC, config.evaluation.split, count, show)
        self._classes = classes
        self._shown = ShownExamples(config, self._split, shard, count=count)

    def look(self, batch: Any, predicted: Predicted) -> None:
        """Keeps what an evaluation predicts for the images that are shown."""
        if self._count:
            self._shown.look(batch, predicted)

    def drawing_of_batch(self, batch: Any) -> Draw:
        """What draws some images of a training batch with their classes."""
        images, labels = (batch[key][: self._count].copy() for key in ("image", "label"))
        names = [self._classes.names[label] for label in labels.tolist()]
        return lambda: _table(list(zip(names, images, strict=True)))

    def drawing_of_evaluation(self) -> Draw:
        """What draws the images that are shown with what is found."""
        rows = self._shown.rows(self._classes)
        return lambda: _table(rows)


def _table(rows: list[tuple[str, UInt8[np.ndarray, "h w 3"]]]) -> Image.Image:
    shown = [Row(title, (fitted(image, _CELL),)) for title, image in rows]
    return draw_table(["image"], shown, [], cell=_CELL)


def _summary(evaluation: Evaluation) -> Html:
    meanings = {
        "top-1": "of all images have the right class as the most likely one",
        "top-5": "have it among the five most likely ones",
    }
    tiles = [
        element(
            "div",
            element("strong", f"{100 * evaluation.summary[name]:.2f}"),
            element("span", name),
            element("small", meaning),
        )
        for name, meaning in meanings.items()
    ]
    return joined(
        [element("div", *tiles, class_="tiles"), element("p", "In percent.", class_="note")]
    )


def _classes(evaluation: Evaluation) -> Html:
    order = sorted(evaluation.by_class.items(), key=lambda item: item[1])
    rows = [
        element("tr", element("th", name), element("td", f"{100 * value:.2f}"))
        for name, value in order
    ]
    head = element("tr", *(element("th", name, scope="col") for name in ("class", "top-1")))
    return scrolled(element("table", head, *rows, class_="figures"))


def _figures(rows: list[tuple[str, UInt8[np.ndarray, "h w 3"]]]) -> Html:
    figures = [
        element(
            "figure",
            picture(
                encoded(Image.fromarray(np.asarray(fitted(image, _CELL))), "JPEG"),
                "jpeg",
                alt=title,
            ),
            element("figcaption", title),
        )
        for title, image in rows
    ]
    return element("div", *figures, class_="sheet") if figures else Html()
