"""The rows of a run's `metrics.jsonl`, written, and read as far as they can be."""

import json
import sys
from collections.abc import Mapping
from typing import Any

from absl import logging
from etils import epath

from gcnet_jax.files import write_whole

_MOST_NAMED = 10  # damaged lines


def rows_file(workdir: epath.PathLike) -> epath.Path:
    """Where a run's rows are."""
    return epath.Path(workdir) / "metrics.jsonl"


class RowsFile:
    """The rows of a run under way.

    Args:
        workdir: of the run.
        last_step: rows of later steps that are there are dropped.

    Attributes:
        kept: the rows that were there before.
    """

    def __init__(self, workdir: epath.PathLike, *, last_step: int):
        self._path = rows_file(workdir)
        kept = [(line, row) for line, row in read_lines(self._path) if row["step"] <= last_step]
        self._lines = [line for line, _ in kept]
        self.kept = [row for _, row in kept]

    def add(self, step: int, split: str, row: Mapping[str, float]) -> bool:
        """Adds a row, unless it is there already; returns whether it was not."""
        line = json.dumps({"step": step, "split": split, **row})
        if line in self._lines:
            return False
        self._lines.append(line)
        return True

    def write(self) -> None:
        """Writes the file whole.

        Raises:
            InputError: it cannot be written.
        """
        write_whole(self._path, "".join(f"{line}\n" for line in self._lines))


def read_rows(workdir: epath.PathLike) -> list[dict[str, Any]]:
    """The rows of a run, in order: `step`, `split`, and numbers by name.

    Lines that are damaged are reported and left out.
    """
    return [row for _, row in read_lines(rows_file(workdir))]


def read_lines(path: epath.Path) -> list[tuple[str, dict[str, Any]]]:
    """The lines that can be read, each with its row; others are reported and left out."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    parsed = [(line, _row(line)) for line in lines]
    damaged = [i for i, (line, row) in enumerate(parsed, start=1) if line and row is None]
    if damaged:
        numbers = ", ".join(str(number) for number in damaged[:_MOST_NAMED])
        others = f" and {len(damaged) - _MOST_NAMED} others" if damaged[_MOST_NAMED:] else ""
        logging.warning("Damaged lines of %s are left out: %s%s.", path, numbers, others)
    return [(line.decode(), row) for line, row in parsed if row is not None]


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line.decode())
    except (ValueError, RecursionError):  # no JSON, not UTF-8, too deep or too long a number
        return None
    if not isinstance(row, dict) or not isinstance(row.get("split"), str):
        return None
    numbers = [value for name, value in row.items() if name != "split"]
    if "step" not in row or not isinstance(row["step"], int):
        return None
    return row if all(_is_number(value) for value in numbers) else None


def _is_number(value: Any) -> bool:
    """Whether it can be drawn: JSON has integers of any length."""
    return isinstance(value, float) or (isinstance(value, int) and abs(value) <= sys.float_info.max)
