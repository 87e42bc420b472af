"""What can be looked at while a network trains: its first batch, what it predicts, its curves."""

import abc
import concurrent.futures
import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

from absl import logging
from etils import epath
from jaxtyping import PyTree
from PIL import Image

from gcnet_jax.config import brief_reason
from gcnet_jax.data.picture_table import encoded
from gcnet_jax.errors import printable
from gcnet_jax.files import write_whole
from gcnet_jax.task import ShowPicture
from gcnet_jax.training.rows import read_rows

_FOLDER = "pictures"
# The curves take a fifth of a second, of all that is drawn most: less than 1% of a short run too.
_SECONDS_BETWEEN_CURVES = 60.0

Draw = Callable[[], Image.Image]
"""Draws a picture, in another thread than the one that has made this function."""


class RunPictures(abc.ABC):
    """Pictures of a run in its workdir and in TensorBoard: a `gcnet_jax.task.Observer`.

    - `pictures/first_batch.png`, as soon as the first step is done;
    - `pictures/step_000100.png` after each evaluation, of what it has predicted;
    - `curves.png` then too, but once a minute at most, and in the end.

    They are drawn in a thread, beside the steps that follow; what cannot be drawn is reported, and
    training goes on. Of several processes one draws, from its own part of the batches, and the
    others need not know. To be entered as a context, which ends when the thread is done.

    A task says in a class of its own what is drawn.

    Args:
        workdir: of the run.
        metric: of its evaluations, that the curves show.
        split: that is evaluated.
        count: examples in a picture; 0 for no pictures but the curves.
        show: shows a picture in the run's log.
    """

    def __init__(self, workdir: epath.Path, metric: str, split: str, count: int, show: ShowPicture):
        self._workdir, self._metric, self._split = workdir, metric, split
        self._count, self._show = count, show
        self._thread = concurrent.futures.ThreadPoolExecutor(1)
        self._under_way: concurrent.futures.Future[None] | None = None
        self._next_curves = 0.0  # by `time.monotonic`
        self._has_drawn_curves = False  # up to the last evaluation

    @abc.abstractmethod
    def look(self, batch: Any, predicted: Any) -> None:
        """Keeps what an evaluation predicts for the examples that are shown; waits for nothing."""

    @abc.abstractmethod
    def drawing_of_batch(self, batch: PyTree) -> Draw:
        """What draws some examples of a training batch, of which it keeps copies."""

    @abc.abstractmethod
    def drawing_of_evaluation(self) -> Draw:
        """What draws the predictions kept since the last evaluation."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def first_batch(self, batch: PyTree) -> None:
        """Draws some examples of a training batch."""
        if self._count:
            draw = self.drawing_of_batch(batch)
            self._start(lambda: self._save("first_batch.png", draw, 1, "train/first_batch"))

    def evaluated(self, step: int) -> None:
        """Draws what the evaluation after `step` steps has predicted, perhaps with the curves."""
        if self._count:
            draw = self.drawing_of_evaluation()
            self._has_drawn_curves = curves = time.monotonic() >= self._next_curves
            if curves:
                self._next_curves = time.monotonic() + _SECONDS_BETWEEN_CURVES
            self._start(lambda: self._draw_evaluation(step, draw, curves=curves))

    def finish(self) -> None:
        """Returns when all is drawn, the whole curves too."""
        if not self._has_drawn_curves:
            self._start(self._draw_curves)
        self._wait()

    def _start(self, draw: Callable[[], None]) -> None:
        """Begins to draw in the background, one thing after the other."""
        self._wait()
        self._under_way = self._thread.submit(draw)

    def _wait(self) -> None:
        if self._under_way is not None:
            self._under_way.result()

    def _draw_evaluation(self, step: int, draw: Draw, *, curves: bool) -> None:
        self._save(f"step_{step:06}.png", draw, step, f"{self._split}/examples")
        if curves:
            self._draw_curves()

    def _draw_curves(self) -> None:
        with _reported("curves.png"):
            # matplotlib takes half a second to import, and the first step need not wait for it.
            from gcnet_jax.training.curves import Curve, save_curves

            curve = Curve(self._workdir.name, read_rows(self._workdir), self._metric)
            save_curves(self._workdir / "curves.png", [curve])

    def _save(self, name: str, draw: Draw, step: int, tag: str) -> None:
        with _reported(f"{_FOLDER}/{name}"):
            picture = draw()
            folder = self._workdir / _FOLDER
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / name, encoded(picture, "PNG"))
            # The file of events is written again and again where it lies in a bucket.
            self._show(step, tag, encoded(picture, "JPEG"), (picture.height, picture.width))


@contextlib.contextmanager
def _reported(name: str) -> Iterator[None]:
    """Says what could not be drawn, and why: no run is lost for want of a picture."""
    try:
        yield
    except Exception as error:  # of drawing, a damaged record, a full disk, a bucket
        logging.warning("%s was not drawn: %s: %s", name, type(error).__name__, _brief(error))


def _brief(error: Exception) -> str:
    return printable(brief_reason(error))[:300]
