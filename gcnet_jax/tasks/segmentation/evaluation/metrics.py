"""Segmentation metrics from a confusion matrix, as mmsegmentation's `IoUMetric` defines them."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import rich.table
import rich.text
from jaxtyping import Float, Int


@dataclasses.dataclass(frozen=True)
class SegmentationMetrics:
    """Metrics of a set, from 0 to 1; a class that never occurs is NaN and left out of means.

    Attributes:
        accuracy: share of all labelled pixels that are right (aAcc).
        iou: by class, intersection over union.
        recall: by class, share of its pixels that are found (Acc).
        precision: by class, share of the pixels given to it that are its own.
        dice: by class, twice the intersection over the sum of both areas.
    """

    accuracy: float
    iou: Float[np.ndarray, " classes"]
    recall: Float[np.ndarray, " classes"]
    precision: Float[np.ndarray, " classes"]
    dice: Float[np.ndarray, " classes"]

    @property
    def f_score(self) -> Float[np.ndarray, " classes"]:
        """The harmonic mean of precision and recall of each class."""
        with np.errstate(invalid="ignore"):
            return 2 * self.precision * self.recall / (self.precision + self.recall)

    @property
    def _columns(self) -> dict[str, Float[np.ndarray, " classes"]]:
        return {
            "IoU": self.iou,
            "Acc": self.recall,
            "Precision": self.precision,
            "Dice": self.dice,
            "Fscore": self.f_score,
        }

    def summary(self) -> dict[str, float]:
        """The means over classes under the reference's names."""
        return {
            "aAcc": self.accuracy,
            "mIoU": _mean(self.iou),
            "mAcc": _mean(self.recall),
            "mDice": _mean(self.dice),
            "mFscore": _mean(self.f_score),
        }

    def note(self) -> str:
        """Over how many classes the mIoU goes, where some never occur; else nothing."""
        number, all_classes = _number_in_mean(self.iou), len(self.iou)
        return f"mIoU over {number} of {all_classes} classes" if number < all_classes else ""

    def iou_by_name(self, names: Sequence[str]) -> dict[str, float]:
        """IoU of each class that occurs, by its name."""
        return {
            name: float(value)
            for name, value in zip(names, self.iou, strict=True)
            if not np.isnan(value)
        }

    def to_plain(self, names: Sequence[str]) -> dict:
        """What goes to JSON: the summary, over how many classes, and each; NaN becomes null."""
        classes = {
            name: {key: _nullable(values[i]) for key, values in self._columns.items()}
            for i, name in enumerate(names)
        }
        summary = {key: _nullable(value) for key, value in self.summary().items()}
        means_over = {
            f"m{key}": {"classes": _number_in_mean(values), "of": len(names)}
            for key, values in self._columns.items()
            if f"m{key}" in summary
        }
        return {"summary": summary, "means_over": means_over, "classes": classes}

    def table(self, names: Sequence[str], title: str) -> rich.table.Table:
        """One row a class and one of means, in percent."""
        table = rich.table.Table(title=rich.text.Text(title))
        table.add_column("class")
        for key in self._columns:
            table.add_column(key, justify="right")
        for i, name in enumerate(names):
            table.add_row(
                rich.text.Text(name),
                *(f"{100 * values[i]:.2f}" for values in self._columns.values()),
            )
        table.add_section()
        table.add_row("mean", *(f"{100 * _mean(values):.2f}" for values in self._columns.values()))
        numbers = (_number_in_mean(values) for values in self._columns.values())
        table.add_row("over classes", *(f"{number} of {len(names)}" for number in numbers))
        table.caption = f"aAcc {100 * self.accuracy:.2f} (all labelled pixels together)"
        return table


def metrics_from_confusion(confusion: Int[np.ndarray, "classes classes"]) -> SegmentationMetrics:
    """Metrics of a set from pixel counts by (label, prediction), summed over its images."""
    confusion = confusion.astype(np.float64)
    intersection = np.diag(confusion)
    labelled, predicted = confusion.sum(1), confusion.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return SegmentationMetrics(
            accuracy=float(intersection.sum() / confusion.sum()),
            iou=intersection / (labelled + predicted - intersection),
            recall=intersection / labelled,
            precision=intersection / predicted,
            dice=2 * intersection / (labelled + predicted),
        )


def _mean(values: Float[np.ndarray, " classes"]) -> float:
    return float(np.nanmean(values)) if not np.all(np.isnan(values)) else float("nan")


def _number_in_mean(values: Float[np.ndarray, " classes"]) -> int:
    return int(np.count_nonzero(~np.isnan(values)))


def _nullable(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
