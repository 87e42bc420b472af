"""Means over the steps since the last row of a run's log, and how fast they were."""

import math
import time
from collections.abc import Mapping, Sequence


class StepMeans:
    """Collects the metrics of steps until they make a row.

    Args:
        unlogged: the metrics of the last of the steps already done, which no row has yet.
        batch_size: examples a step. Of the first step, which may have to wait for a compiler, no
            rate is taken.
    """

    def __init__(self, unlogged: Sequence[Mapping[str, float]], batch_size: int):
        self._metrics = list(unlogged)
        self._batch_size = batch_size
        self._timed_steps = 0
        self._timed_from: float | None = None  # the end of the first step, or of the last row
        self._pauses = 0.0

    def add(self, metrics: Mapping[str, float]) -> None:
        """Takes the metrics of a step that is done just now."""
        if self._metrics and self._metrics[0].keys() != metrics.keys():
            self._metrics.clear()  # of a run that measured something else before it was stopped
        self._metrics.append(metrics)
        if self._timed_from is None:
            self._timed_from = time.monotonic()
        else:
            self._timed_steps += 1

    def pause(self, seconds: float) -> None:
        """Takes no notice of some of the time."""
        self._pauses += seconds

    def unlogged(self) -> list[Mapping[str, float]]:
        """The metrics of the steps that no row has yet."""
        return list(self._metrics)

    def row(self) -> dict[str, float]:
        """The means of the steps so far, after which they begin anew.

        Of `learning_rate` the last value counts. There is `images_per_second` where it is known.
        """
        metrics = self._metrics
        row = {name: math.fsum(m[name] for m in metrics) / len(metrics) for name in metrics[-1]}
        row["learning_rate"] = metrics[-1]["learning_rate"]
        if self._timed_steps and self._timed_from is not None:
            seconds = time.monotonic() - self._timed_from - self._pauses
            row["images_per_second"] = self._timed_steps * self._batch_size / max(seconds, 1e-9)
        self._metrics, self._timed_steps, self._pauses = [], 0, 0.0
        self._timed_from = time.monotonic()
        return row
