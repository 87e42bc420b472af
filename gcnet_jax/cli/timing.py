"""Timing: several ways measured in turn, training steps among them; medians with their spread."""

import random
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
import rich.console
import rich.progress
from ml_collections import ConfigDict

from gcnet_jax.tasks.segmentation.data import DatasetClasses
from gcnet_jax.tasks.segmentation.task import TASK as segmentation
from gcnet_jax.training.program import CompiledStep, TrainingProgram

CONSOLE = rich.console.Console(stderr=True)
"""Where progress is shown."""


class Timed(Protocol):
    """Something that can be done again and again."""

    def seconds(self) -> float:
        """Does it, to its end, and returns how long it took once."""
        ...


def steps_in_a_row() -> int:
    """Steps that are taken before one waits for what they computed.

    The host prepares a step while accelerators compute the one before, in training as here: alone,
    a step of 90 ms on an H100 took 12 more.
    """
    return 1 if jax.default_backend() == "cpu" else 5


def measure_in_turn(ways: Mapping[str, Timed], rounds: int) -> dict[str, list[float]]:
    """Seconds of each way in each round, which spreads what else the machine does over all.

    The order is drawn anew in each round: what comes after the hottest work finds a GPU that has
    lowered its clock.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    order, draw = list(ways), random.Random(0)
    for _ in rich.progress.track(range(rounds), "measuring", console=CONSOLE):
        draw.shuffle(order)
        for name in order:
            seconds[name].append(ways[name].seconds())
    return seconds


class MedianAndSpread(NamedTuple):
    """The median of some values, and half the distance between their quartiles."""

    median: float
    spread: float


def median_and_spread(values: Sequence[float]) -> MedianAndSpread:
    """Returns the median of some values with their spread."""
    first, median, third = np.percentile(values, [25, 50, 75])
    return MedianAndSpread(float(median), float(third - first) / 2)


def step_seconds(
    configs: Mapping[str, ConfigDict], *, num_classes: int, rounds: int
) -> dict[str, list[float]]:
    """Seconds of single training steps for each config, measured in turn, compilation left out.

    The batches are of random pixels, already on the devices.

    Args:
        configs: of the runs, by name.
        num_classes: of the data set.
        rounds: steps measured for each.
    """
    classes = DatasetClasses.numbered(num_classes)
    programs = {
        name: TrainingProgram(segmentation, config, classes) for name, config in configs.items()
    }
    steps = {name: TimedStep(program, program.compile()) for name, program in programs.items()}
    return measure_in_turn(steps, rounds)


class TimedStep:
    """A compiled training step with a state and a batch of its own, run once before it counts.

    Attributes:
        first_loss: of the step that was run before.
    """

    def __init__(self, program: TrainingProgram, compiled: CompiledStep):
        self._run = compiled.run
        self._state, self._batch = program.initial_state(), program.random_batch()
        self.first_loss = float(self._take(1)["loss"])

    def seconds(self) -> float:
        """Takes `steps_in_a_row`, and returns how long each took."""
        steps, start = steps_in_a_row(), time.perf_counter()
        self._take(steps)
        return (time.perf_counter() - start) / steps

    def _take(self, steps: int) -> dict[str, Any]:
        metrics: dict[str, Any] = {}
        for _ in range(steps):
            self._state, metrics = self._run(self._state, self._batch)
        return jax.block_until_ready((self._state, metrics))[1]
