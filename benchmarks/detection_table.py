"""Parts of detectors that take turns with torchvision's, and the table of what they take."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from benchmarks.comparison import print_tables, table, times_as_fast
from gcnet_jax.cli.timing import measure_in_turn, median_and_spread

TORCHVISION = "torchvision"
"""What the peer is called in results."""


class _Call:
    """A function that is called again and again until what it computes is there."""

    def __init__(self, function: Callable[[], Any]):
        self._function = function

    def seconds(self) -> float:
        """Calls it, and returns how long it took."""
        start = time.perf_counter()
        jax.block_until_ready(self._function())
        return time.perf_counter() - start


def in_turn(name: str, ways: Mapping[str, Callable[[], Any]], rounds: int) -> list[dict[str, Any]]:
    """Measures ways to do one part in turn.

    Args:
        name: of the part.
        ways: what does it, by whose it is.
        rounds: how often each is done.

    Returns:
        A row for each way: its seconds and how many times as fast it is as each other.
    """
    seconds = measure_in_turn({way: _Call(function) for way, function in ways.items()}, rounds)
    return [
        {
            "part": name,
            "way": way,
            "seconds_of_rounds": times,
            "seconds": median_and_spread(times)._asdict(),
            "least_seconds": min(times),
            "times_as_fast_as": times_as_fast(seconds, way),
        }
        for way, times in seconds.items()
    ]


def print_parts(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Prints rows of `in_turn`, a part a line."""
    names = list(dict.fromkeys(row["part"] for row in rows))
    ways = list(dict.fromkeys(row["way"] for row in rows))
    headings = [f"{way}, ms (least)" for way in ways]
    if len(ways) > 1:
        headings.append(f"times {TORCHVISION} (of the least)")
    built = table(title, headings)
    built.columns[0].header = "part"
    by_part = {(row["part"], row["way"]): row for row in rows}
    for name in names:
        of_part = [by_part[name, way] for way in ways]
        cells = [_milliseconds(row) for row in of_part]
        if len(ways) > 1:
            cells.append(_times(*of_part))
        built.add_row(name, *cells)
    print_tables(built)


def _milliseconds(row: Mapping[str, Any]) -> str:
    return f"{row['seconds']['median'] * 1e3:.4g} ({row['least_seconds'] * 1e3:.4g})"


def _times(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    times = ours["times_as_fast_as"][TORCHVISION]
    of_least = theirs["least_seconds"] / ours["least_seconds"]
    return f"{times['median']:.3g} ± {times['spread']:.2g} ({of_least:.3g})"
