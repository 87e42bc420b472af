"""How long things take: measured in turn, told as medians with their spread."""

import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import jax
import numpy as np
import rich.console
import rich.progress

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
    """The two of some values."""
    first, median, third = np.percentile(values, [25, 50, 75])
    return MedianAndSpread(float(median), float(third - first) / 2)
