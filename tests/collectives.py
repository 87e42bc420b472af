"""What the devices of a compiled program send to each other, read from the program's text.

The text is HLO, XLA's own language, as `compiled.as_text()` prints it: what is counted here is what
the compiler has made of a program, after it has joined and moved collectives, not what was asked of
it.
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Sequence

KINDS = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
    "collective-broadcast",
)


@dataclasses.dataclass(frozen=True)
class Collective:
    """One exchange between devices.

    Attributes:
        kind: one of `KINDS`.
        bytes: of the arrays exchanged, on one device, whole: of what is reduced, of what is
            scattered before it is, of what is gathered after it was.
        arrays: how many arrays travel together.
        group: how many devices exchange them; 2 for a `collective-permute`, where each sends to
            one other.
        times: how often it happens in one run of the program, if it stands in loops.
        shapes: of the arrays, as `f32[64,3]`.
    """

    kind: str
    bytes: int
    arrays: int
    group: int
    times: int
    shapes: tuple[str, ...]

    @property
    def total_bytes(self) -> int:
        """Bytes of all the times it happens."""
        return self.bytes * self.times

    @property
    def sent_bytes(self) -> float:
        """Bytes that each device sends in all, where the group passes parts around in a ring."""
        if self.kind == "collective-permute":
            return float(self.total_bytes)
        rounds = 2 if self.kind == "all-reduce" else 1
        return rounds * (self.group - 1) / self.group * self.total_bytes


def read_collectives(text: str) -> list[Collective]:
    """The collectives of a compiled program, in the order of its text.

    Those of a single device, which exchange nothing, are left out.

    Args:
        text: of the program, from `compiled.as_text()`.

    Raises:
        ValueError: groups of devices are written in a way not known here, or a loop around a
            collective has no length known to the compiler.
    """
    computations = _computations(text)
    runs = _runs(computations)
    devices = int(_first(r"num_partitions=(\d+)", text, "1")) * int(
        _first(r"replica_count=(\d+)", text, "1")
    )
    found: dict[str, Collective] = {}
    for name, instructions in computations.items():
        for instruction in instructions:
            match = _COLLECTIVE.match(instruction)
            if match is None:
                continue
            group = _group_size(match["kind"], instruction, devices)
            if group == 1:
                continue
            times = runs[name]
            if times is None:
                raise ValueError(f"a loop of unknown length holds {instruction[:200]}")
            shapes = _exchanged(match["kind"], match["start"] is not None, match["shapes"])
            size = sum(map(_bytes, shapes))
            if match["kind"] == "reduce-scatter":
                size *= group
            # On TPUs one that goes on behind several fused computations is written in each of them.
            channel = _first(r"channel_id=(\d+)", instruction, f"{name} {instruction}")
            found.setdefault(
                channel, Collective(match["kind"], size, len(shapes), group, times, tuple(shapes))
            )
    return list(found.values())


def carrying(collectives: Iterable[Collective], share: float) -> list[Collective]:
    """The largest collectives, as few as carry that share of all bytes."""
    largest = sorted(collectives, key=lambda collective: -collective.total_bytes)
    total = sum(collective.total_bytes for collective in largest)
    carried, kept = 0, []
    for collective in largest:
        if carried >= share * total:
            break
        carried += collective.total_bytes
        kept.append(collective)
    return kept


def summarize(collectives: Sequence[Collective]) -> dict[str, dict[str, float]]:
    """For each kind that occurs: how many, how often they happen, and the bytes."""
    summary = {}
    for kind in KINDS:
        of_kind = [collective for collective in collectives if collective.kind == kind]
        if of_kind:
            summary[kind] = {
                "collectives": len(of_kind),
                "times": sum(collective.times for collective in of_kind),
                "bytes": sum(collective.total_bytes for collective in of_kind),
                "sent_bytes": sum(collective.sent_bytes for collective in of_kind),
            }
    return summary


# Text --------------------------------------------------------------------------------------------

_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%?[\w.-]+ = ")
_COLLECTIVE = re.compile(
    r"\s+(?:ROOT )?%?[\w.-]+ = (?P<shapes>.*?) "
    rf"(?P<kind>{'|'.join(KINDS)})(?P<start>-start)?\("
)
_SHAPE = re.compile(r"(?P<type>[a-z]+\d*\w*)\[(?P<sizes>[\d,]*)\]")
_CALLED = re.compile(
    r"(?:body|condition|to_apply|calls|true_computation|false_computation)=%?([\w.-]+)"
    r"|(?:branch_computations|called_computations|calls)=\{([^}]*)\}"
)


def _computations(text: str) -> dict[str, list[str]]:
    """The lines of each computation (a function of the program), by name; the entry's is ''."""
    computations: dict[str, list[str]] = {}
    current: list[str] = []
    for line in text.splitlines():
        head = re.match(r"(ENTRY )?%?([\w.-]+) (?:\(.*)?\{\s*$", line)
        if head is not None:
            current = computations.setdefault("" if head[1] else head[2], [])
        elif _INSTRUCTION.match(line):
            current.append(re.sub(r"/\*index=\d+\*/", "", line))
    return computations


def _runs(computations: dict[str, list[str]]) -> dict[str, int | None]:
    """How often each computation runs; `None` where a loop's length is not known."""
    callers: dict[str, list[tuple[str, int | None]]] = {name: [] for name in computations}
    for caller, instructions in computations.items():
        for instruction in instructions:
            times: int | None = 1
            if " while(" in instruction:
                length = _first(r'"known_trip_count":\{"n":"(\d+)"\}', instruction, "")
                times = int(length) if length else None
            for one, several in _CALLED.findall(instruction):
                for called in (one, *(name.strip(" %") for name in several.split(","))):
                    if called in callers:
                        callers[called].append((caller, times))
    runs: dict[str, int | None] = {"": 1}

    def count(name: str) -> int | None:
        if name not in runs:
            counts = [(count(caller), times) for caller, times in callers[name]]
            known = [a * b for a, b in counts if a is not None and b is not None]
            runs[name] = sum(known) if len(known) == len(counts) else None
        return runs[name]

    for name in computations:
        count(name)
    return runs


def _exchanged(kind: str, started: bool, shapes: str) -> list[str]:
    """The arrays exchanged, from the result of a collective.

    What starts one that goes on in the background returns what it was given too.
    """
    found = [match[0] for match in _SHAPE.finditer(shapes)]
    if started and kind == "collective-permute":
        return found[1:2]
    if started and kind != "all-reduce":
        return found[len(found) // 2 :]
    return found


def _bytes(shape: str) -> int:
    match = _SHAPE.fullmatch(shape)
    assert match is not None
    sizes = [int(size) for size in match["sizes"].split(",") if size]
    bits = _first(r"[a-z]+(\d+)", match["type"], "8")  # `pred` is a byte
    return math.prod(sizes) * int(bits) // 8


def _group_size(kind: str, instruction: str, devices: int) -> int:
    if kind == "collective-permute":
        return 2
    written = _first(r"replica_groups=(.*)", instruction, "")
    if match := re.match(r"\[(\d+),(\d+)\]<=", written):  # groups of the second number each
        return int(match[2])
    if match := re.match(r"\{\{([\d,]*)\}", written):  # every device by number
        return match[1].count(",") + 1
    if match := re.match(r"mesh\[(.*?)\](?:, device_ids=\S+)? \{(.*?)\}", written):  # axes
        sizes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", match[1])}
        axes = re.findall(r"'(\w+)'(?::\(\d+\)(\d+))?", match[2])
        return math.prod(int(part) if part else sizes[name] for name, part in axes)
    if re.match(r"\{\}", written):
        return devices
    raise ValueError(f"groups of devices cannot be read from {instruction[:500]}")


def _first(pattern: str, text: str, default: str) -> str:
    match = re.search(pattern, text)
    return match[1] if match else default
