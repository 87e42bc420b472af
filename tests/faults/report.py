"""Counts of a campaign, by fault and by what became of it."""

import collections
import datetime
import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gcnet_jax.errors import InputError
from tests.faults.plan import FILE_KINDS, KINDS

_BEGIN, _END = "<!-- counts: written by python -m tests.faults -->", "<!-- end of counts -->"
_OUTCOMES = (
    "killed",
    "saved, status 75",
    "stopped before a step",
    "one clear error",
    "older checkpoint",
    "no harm",
    "FAILURE",
)
_EQUAL = "bitwise equal in the end"
Records = Sequence[dict[str, Any]]


def counts(records: Records) -> dict[tuple[str, int], collections.Counter[str]]:
    """Counts how often each outcome came, by kind of fault and number of processes.

    Under `bitwise equal in the end` are the faults whose run was then started again until it had
    the parameters, statistics, optimizer and data position of the undisturbed one.
    """
    found: dict[tuple[str, int], collections.Counter[str]] = collections.defaultdict(
        collections.Counter
    )
    by_series: dict[int, list[dict[str, Any]]] = collections.defaultdict(list)
    for record in records:
        by_series[record["series"]].append(record)
    for starts in by_series.values():
        for i, record in enumerate(starts):
            ends_equal = any(
                later["run"] == record["run"] and later["completed"] and not later["problems"]
                for later in starts[i:]
            )
            following = starts[i + 1] if i + 1 < len(starts) else None
            for fault in record["faults"]:
                row = found[fault["kind"], record["processes"]]
                outcome = (
                    _of_damage(record, following)
                    if fault["kind"] in FILE_KINDS
                    else _of_start(record)
                )
                row["faults"] += 1
                row[outcome] += 1
                row[_EQUAL] += ends_equal
    return found


def table(records: Records) -> str:
    """The counts as a table in Markdown."""
    found = counts(records)
    columns = ("faults", *_OUTCOMES, _EQUAL)
    lines = [
        "| fault | processes | " + " | ".join(columns) + " |",
        "| --- | ---: " + "| ---: " * len(columns) + "|",
    ]
    total: collections.Counter[str] = collections.Counter()
    for kind in KINDS:
        for processes in (1, 2):
            if row := found.get((kind, processes)):
                total.update(row)
                cells = " | ".join(str(row[column] or "") for column in columns)
                lines.append(f"| {kind} | {processes} | {cells} |")
    lines.append("| all | | " + " | ".join(str(total[column]) for column in columns) + " |")
    return "\n".join(lines)


def summary(records: Records) -> str:
    """The table, and what was seen beside it."""
    return f"{table(records)}\n\n{_seen(records)}"


def write_page(page: Path, records: Records, seed: int) -> None:
    """Puts the summary between the marks of a page.

    Raises:
        InputError: the page has no such marks.
    """
    text = page.read_text()
    begin, end = text.find(_BEGIN), text.find(_END)
    if begin < 0 or end < begin:
        raise InputError(f"{page} lacks the lines '{_BEGIN}' and '{_END}'")
    about = (
        f"{datetime.date.today()}, seed {seed}, {os.cpu_count()} cores of {_processor()}, "
        f"Python {platform.python_version()}."
    )
    head = text[: begin + len(_BEGIN)]
    page.write_text(f"{head}\n{about}\n\n{summary(records)}\n{text[end:]}")


def _of_start(record: dict[str, Any]) -> str:
    if record["problems"]:
        return "FAILURE"
    ends = record["ends"]
    for end, outcome in (
        ("killed", "killed"),
        ("saved and stopped", "saved, status 75"),
        ("one clear error", "one clear error"),
        ("ended by SIGTERM", "stopped before a step"),
    ):
        if end in ends:
            return outcome
    return "no harm"


def _of_damage(record: dict[str, Any], following: dict[str, Any] | None) -> str:
    if following is None or following["problems"]:
        return "FAILURE"
    if following["hopeless"]:
        return "one clear error"
    if following["resumed"] is None:  # another fault came before it looked
        return "no harm"
    return "no harm" if following["resumed"] >= record["newest"] else "older checkpoint"


def _seen(records: Records) -> str:
    """How long SIGTERM took, what partners of failed processes did, and the number of starts."""
    stops = sorted(
        seconds
        for record in records
        if "saved and stopped" in record["ends"] and "killed" not in record["ends"]
        for seconds in record["seconds_to_stop"] or ()
        if seconds is not None
    )
    partners: collections.Counter[str] = collections.Counter()
    for record in records:
        ends = record["ends"]
        if len(ends) == 2 and record["faults"] and not record["completed"]:
            partners.update(end for end in ends if end not in _OWN_ENDS)
    lines = [f"Starts: {len(records)}."]
    if stops:
        lines.append(
            f"From SIGTERM to the end with status 75: {stops[len(stops) // 2]:.1f} s in the "
            f"middle, {stops[-1]:.1f} s at most ({len(stops)} processes)."
        )
    if partners:
        listed = "; ".join(f"{end}: {count}" for end, count in partners.most_common())
        lines.append(f"What a process did whose partner had failed: {listed}.")
    return "\n".join(lines)


_OWN_ENDS = ("killed", "saved and stopped", "to the end", "ended by SIGTERM")


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", path.read_text()) if path.exists() else None
    return found[1] if found else platform.processor()
