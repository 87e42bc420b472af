"""The plan of a campaign, drawn from a seed: which fault strikes which start, and when."""

import dataclasses
import random
from typing import Literal, get_args

LiveKind = Literal[
    "killed", "killed while saving", "told to stop", "disk full", "data worker killed"
]
"""Faults that come at a moment while training runs."""
FileKind = Literal["file truncated", "bit flipped", "file deleted"]
"""Damage to the newest checkpoint, done when a start has ended."""
StartKind = Literal["records corrupted", "not a number"]
"""Faults that a start has from its beginning."""
Kind = LiveKind | FileKind | StartKind

LIVE_KINDS: tuple[str, ...] = get_args(LiveKind)
FILE_KINDS: tuple[str, ...] = get_args(FileKind)

# Of how many faults in a hundred each kind is, in the order of the report.
_SHARES: dict[Kind, int] = {
    "killed": 16,
    "killed while saving": 14,
    "told to stop": 20,
    "file truncated": 10,
    "bit flipped": 10,
    "file deleted": 8,
    "disk full": 7,
    "data worker killed": 5,
    "records corrupted": 5,
    "not a number": 5,
}
KINDS: tuple[Kind, ...] = tuple(_SHARES)

_SERIES_FAULTS = 6
_TWO_PROCESSES_EVERY = 4  # of so many series one is in two processes: they take four times longer
_COMBINED = 0.35  # how often a fault comes together with the one before
_MOST_STEPS = 9  # that a start does before its fault comes


@dataclasses.dataclass(frozen=True)
class Moment:
    """When a live fault comes.

    Attributes:
        after: what is waited for: a fraction of the time that a start usually takes to its first
            step; a number of steps that this start reports; or a save that this start begins.
        count: that fraction or number.
        delay: seconds from then.
    """

    after: Literal["launch", "steps", "saves"]
    count: float
    delay: float


@dataclasses.dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        number: of the campaign's faults.
        kind: what happens.
        moment: when, if it is a live one.
        processes: which processes of the job it meets, counted from 0.
        whole_group: whether a signal goes to the data workers too.
        seed: of what can be drawn only then, such as one of the files there are.
    """

    number: int
    kind: Kind
    moment: Moment | None
    processes: tuple[int, ...]
    whole_group: bool
    seed: int


@dataclasses.dataclass(frozen=True)
class Series:
    """Starts of one training run, each with its faults; then starts without any to its end.

    Attributes:
        number: of the series.
        processes: that the run has.
        workers: of each process, that make batches; 0 for threads.
        starts: the faults of each start.
    """

    number: int
    processes: int
    workers: int
    starts: tuple[tuple[Fault, ...], ...]

    def has(self, kind: Kind) -> bool:
        """Whether a fault of this kind is among them."""
        return any(fault.kind == kind for faults in self.starts for fault in faults)


def draw_plan(seed: int, faults: int) -> list[Series]:
    """All faults of a campaign: the same ones for the same seed and number."""
    rng = random.Random(seed)
    kinds: list[Kind] = [kind for kind, share in _SHARES.items() for _ in range(share)]
    deck: list[Kind] = []
    while len(deck) < faults:
        deck += rng.sample(kinds, len(kinds))
    plan = []
    for number, first in enumerate(range(0, faults, _SERIES_FAULTS)):
        processes = 2 if number % _TWO_PROCESSES_EVERY == 1 else 1
        of_series = deck[first : min(first + _SERIES_FAULTS, faults)]
        drawn = [_draw(first + i, kind, processes, rng) for i, kind in enumerate(of_series)]
        needs_workers = "data worker killed" in of_series
        workers = rng.choice((1, 2)) if needs_workers else rng.choice((0, 0, 0, 1))
        plan.append(Series(number, processes, workers, _combined(drawn, rng)))
    return plan


def _draw(number: int, kind: Kind, processes: int, rng: random.Random) -> Fault:
    moment = None
    if kind == "killed while saving":
        moment = Moment("saves", rng.randint(1, 2), rng.choice((0, 0.3 * rng.random() ** 2)))
    elif kind == "data worker killed":
        moment = Moment("steps", rng.randint(1, _MOST_STEPS), rng.random() / 10)
    elif kind in LIVE_KINDS:
        moment = (
            Moment("launch", rng.random(), 0)
            if rng.random() < 0.25
            else Moment("steps", rng.randint(1, _MOST_STEPS), rng.random() / 5)
        )
    met = rng.choice(((0,), (1,), (0, 1))) if processes == 2 else (0,)
    if kind in ("disk full", "records corrupted"):  # these are shared by the processes
        met = tuple(range(processes))
    return Fault(number, kind, moment, met, rng.random() < 0.5, rng.getrandbits(32))


def _combined(faults: list[Fault], rng: random.Random) -> tuple[tuple[Fault, ...], ...]:
    """Puts faults together into starts, never two of a kind.

    Damage to files always joins the start after which it comes.
    """
    starts: list[list[Fault]] = []
    for fault in sorted(faults, key=lambda fault: fault is faults[0] and fault.kind in FILE_KINDS):
        joins = fault.kind in FILE_KINDS or rng.random() < _COMBINED
        if starts and joins and fault.kind not in {other.kind for other in starts[-1]}:
            starts[-1].append(fault)
        else:
            starts.append([fault])
    return tuple(tuple(start) for start in starts)


def without(plan: list[Series], kind: Kind) -> list[Series]:
    """The plan less the faults of one kind."""
    return [
        dataclasses.replace(
            series,
            starts=tuple(
                tuple(fault for fault in faults if fault.kind != kind) for faults in series.starts
            ),
        )
        for series in plan
    ]
