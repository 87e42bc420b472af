"""How long things take: measured in turn, told as medians with their spread."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import rich.console
import rich.progress

CONSOLE = rich.console.Console(stderr=True)
"""Where progress is shown."""


class Timed(Protocol):
    """Something that can be done again and again."""

    def seconds(self) -> float:
        """Does it once, to its end, and returns how long it took."""
        ...


def measure_in_turn(ways: Mapping[str, Timed], rounds: int) -> dict[str, list[float]]:
    """Seconds of each way in each round, which spreads what else the machine does over all."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in rich.progress.track(range(rounds), "measuring", console=CONSOLE):
        for name, way in ways.items():
            seconds[name].append(way.seconds())
    return seconds


class MedianAndSpread(NamedTuple):
    """The median of some values, and half the distance between their quartiles."""

    median: float
    spread: float


def median_and_spread(values: Sequence[float]) -> MedianAndSpread:
    """The two of some values."""
    first, median, third = np.percentile(values, [25, 50, 75])
    return MedianAndSpread(float(median), float(third - first) / 2)
