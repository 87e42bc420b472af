"""How closely this library agrees with the reference: tolerances, and the worst that was seen."""

import dataclasses
import datetime
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import pytest

from tests.reference import golden_files

# The allowed deviation by kind of quantity, and what it is measured against.
TOLERANCES = {
    "output": (1e-4, "of the case's largest magnitude"),
    "gradient": (1e-4, "of the case's largest magnitude"),
    "training": (1e-4, "relative, over all steps"),
    "exact": (1e-9, "absolute, in the reference's float32"),
    "float32": (3e-7, "absolute: the rounding of a few float32 operations"),
    "rounding": (1.0, "what rounding does; see below"),
    "label": (1e-4, "of the largest logit, between the two labels where they differ"),
}


_HEAD = """# Agreement with the published implementation

Every quantity that the tests compare with mmsegmentation 1.2.2, mmdetection 3.3.0 and mmcv 2.1.0,
with the worst deviation over its cases. The reference's outputs are stored in
`tests/reference/golden`; rows that begin with "live" run mmsegmentation's own networks beside ours,
at full width. This page is written by the tests themselves, in an environment with the extras `dev`
and `peer`:

    GCNET_JAX_TESTS_OPTIMIZE=1 python -m pytest tests/reference -m "" \\
        --equivalence-table=docs/equivalence.md

The same comparisons can be made with cases that this library was not developed against: outputs of
the reference for weights and inputs of another seed, in files of the same names and layout. All
that lies in the folder is compared, whichever runs, sizes and widths:

    python -m pytest tests/reference --golden=DIR --golden-seed=N"""

_NOTES = """## How to read it

**Decisions within rounding.** A ReLU, and the choice of a max-pooling, is decided by the sign of a
number. Among the millions of numbers in a network some are zero within float32 rounding, and the
order of a summation decides on which side they fall. Both gradients are right then, and single ones
differ by percents. mmsegmentation's float32 gradients differ from its own in double
precision in the same way (last rows of the live comparison), in three of the four stored cases.
There the tests ask for more than a wide tolerance would: that the stored gradients, all of them
together, are ours within 1e-4 for an input in which no value is moved by more than one unit in the
last place (`neighbour_that_agrees` in `tests/reference/test_segmentors.py`); the row "at the input
itself" is the plain deviation. The live comparison takes the
question away: with softplus in place of ReLU and the mean in place of the maximum, on both sides,
nothing is decided by a sign.

**Rows with a star** count what lies beyond twice the spread among our own runs from nine such
inputs, with the plain deviation in the row before: after five steps the accuracy (a count of
pixels) and single running averages depend on rounding by more than 1e-4, in either implementation.
Losses and learning rates have no star.

**Beyond noise** (detectors in training). Which regions are sampled and which side of a threshold a
value falls on is decided by numbers within rounding, too. Stored with each gradient is how much its
norm moves when the reference's own image gets noise of one millionth. Listed is by how much ours
differ beyond 5 times that (norms; at most a tenth) or 50 times that (single entries; at most 2%).

**The last bits of metrics.** The reference divides its pixel counts in float32; our metrics are
rounded to float32 before they are compared."""


def every_day(names, chosen, mark=pytest.mark.slow):
    """The names as parameters; those that are not chosen are slow, or have another mark.

    Of outputs that somebody has named (`--golden`) all are chosen.
    """
    return [
        name if name in chosen or golden_files.are_given() else pytest.param(name, marks=mark)
        for name in names
    ]


def find(package):
    """Whether a package is installed."""
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


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

    def include(self, row: Row) -> None:
        """Joins what another process compared."""
        ours = self._rows.setdefault(
            (row.subject, row.quantity), Row(row.subject, row.quantity, row.kind)
        )
        ours.cases += row.cases
        if row.deviation >= ours.deviation:
            ours.deviation, ours.worst_case = row.deviation, row.worst_case

    def page(self) -> str:
        """`docs/equivalence.md`: the rows as a table, and how to read it."""
        packages = ("jax", "flax", "torch", "mmsegmentation", "mmcv-lite")
        versions = ", ".join(f"{name} {version(name)}" for name in packages if find(name))
        lines = [
            *_HEAD.splitlines(),
            "",
            f"Measured {datetime.date.today()} on a CPU ({platform.machine()}), float32; Python "
            f"{platform.python_version()}, {versions}.",
            "",
            "| subject | quantity | cases | worst deviation | in case | allowed |",
            "| --- | --- | ---: | ---: | --- | --- |",
        ]
        for row in self.rows():
            allowed, unit = TOLERANCES[row.kind]
            lines.append(
                f"| {row.subject} | {row.quantity} | {row.cases} | {row.deviation:.1e} "
                f"| {row.worst_case} | {allowed:.0e} {unit} |"
            )
        return "\n".join([*lines, "", *_NOTES.splitlines()]) + "\n"

    def _add(self, subject, quantity, case, kind, deviation):
        self.include(Row(subject, quantity, kind, 1, float(deviation), case))
        allowed, unit = TOLERANCES[kind]
        message = (
            f"{subject}, {quantity}, {case}: deviates by {deviation:.2e}, allowed {allowed} {unit}"
        )
        assert deviation <= allowed, message


EQUIVALENCE = pytest.StashKey[Equivalence]()
"""Where pytest keeps the comparisons of a session."""
