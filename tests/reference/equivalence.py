"""How closely this library agrees with the reference: tolerances, and the worst that was seen."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest

# The allowed deviation by kind of quantity, and what it is measured against.
TOLERANCES = {
    "output": (1e-4, "of the case's largest magnitude"),
    "gradient": (1e-4, "of the case's largest magnitude"),
    "training": (1e-4, "relative, over five steps"),
    "exact": (1e-9, "absolute, in the reference's float32"),
    "label": (1e-4, "of the largest logit, between the two labels where they differ"),
}


@dataclasses.dataclass
class Row:
    """The worst deviation of one quantity over all of its cases."""

    subject: str
    quantity: str
    kind: str
    cases: int = 0
    deviation: float = 0.0
    worst_case: str = ""


class Equivalence:
    """Compares, collects, and fails where a tolerance is exceeded."""

    def __init__(self):
        self._rows: dict[tuple[str, str], Row] = {}

    def arrays(self, subject, quantity, case, ours, theirs, kind="output", scale=None):
        """Deviation of `ours` in units of `scale`, which is the largest of `theirs` by default."""
        ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
        assert ours.shape == theirs.shape, (subject, quantity, case, ours.shape, theirs.shape)
        assert np.isfinite(ours).all(), (subject, quantity, case)
        scale = np.abs(theirs).max() if scale is None else scale
        self._add(subject, quantity, case, kind, np.abs(ours - theirs).max() / scale)

    def labels(self, subject, quantity, case, logits, theirs):
        """Labels from our logits (classes last): how far behind the top logit theirs is."""
        at_theirs = np.take_along_axis(logits, theirs[..., None].astype(int), axis=-1)[..., 0]
        behind = (logits.max(-1) - at_theirs).max() / np.abs(logits).max()
        self._add(subject, quantity, case, "label", behind)

    def rows(self) -> Iterator[Row]:
        """What was compared, in order."""
        return iter(self._rows.values())

    def markdown(self) -> str:
        """The rows as a table."""
        lines = [
            "| subject | quantity | cases | worst deviation | in case | allowed |",
            "| --- | --- | ---: | ---: | --- | --- |",
        ]
        for row in self.rows():
            allowed, unit = TOLERANCES[row.kind]
            lines.append(
                f"| {row.subject} | {row.quantity} | {row.cases} | {row.deviation:.1e} "
                f"| {row.worst_case} | {allowed:.0e} {unit} |"
            )
        return "\n".join(lines)

    def _add(self, subject, quantity, case, kind, deviation):
        row = self._rows.setdefault((subject, quantity), Row(subject, quantity, kind))
        row.cases += 1
        if deviation >= row.deviation:
            row.deviation, row.worst_case = float(deviation), case
        allowed, unit = TOLERANCES[kind]
        message = (
            f"{subject}, {quantity}, {case}: deviates by {deviation:.2e}, allowed {allowed} {unit}"
        )
        assert deviation <= allowed, message


EQUIVALENCE = pytest.StashKey[Equivalence]()
"""Where pytest keeps the comparisons of a session."""
